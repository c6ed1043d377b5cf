/** The organization's phone numbers with the most calls. */

import { callsAt, type Filters, overviewAt } from "../../addresses";
import type { Api } from "../../api/client";
import { useAnswer, useApi } from "../../api/use-answer";
import { number, percent } from "../../format";
import { Empty, Loading, Problem } from "../../ui/states";

const NUMBERS_SHOWN = 10;
/** Groups that are not one phone number. */
const NO_NUMBER = "none";
const OTHER_NUMBERS = "other";

interface Group {
  readonly id: string;
  readonly name: string;
  readonly calls: number;
  readonly answerRate: number | null;
}

export function BusiestNumbers({ filters, total }: { filters: Filters; total: number }) {
  const api = useApi();
  const key = JSON.stringify([filters, total]);
  const { content, failure, reload } = useAnswer(`numbers ${key}`, (signal) => busiest(api, filters, signal));
  return (
    <section>
      <h2>Busiest numbers</h2>
      {failure && <Problem failure={failure} onRetry={reload} />}
      {content === null ? (
        !failure && <Loading what="the numbers" />
      ) : content.length === 0 ? (
        <Empty>There are no calls.</Empty>
      ) : (
        <table class="counts">
          <thead>
            <tr>
              <th scope="col">Number</th>
              <th scope="col">Calls</th>
              <th scope="col">Answered</th>
            </tr>
          </thead>
          <tbody>
            {content.map((group) => (
              <tr key={group.id}>
                <th scope="row">
                  {isNumber(group) ? (
                    <a href={overviewAt({ ...filters, phone_number_id: group.id })}>{group.name}</a>
                  ) : (
                    group.name
                  )}
                </th>
                <td>
                  {group.id === OTHER_NUMBERS ? (
                    number(group.calls)
                  ) : (
                    <a href={callsAt({ ...filters, ...listOf(group) })}>{number(group.calls)}</a>
                  )}
                </td>
                <td>{percent(group.answerRate)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </section>
  );
}

const isNumber = (group: Group) => group.id !== NO_NUMBER && group.id !== OTHER_NUMBERS;

const listOf = (group: Group): Filters =>
  group.id === NO_NUMBER ? { has_phone_number: "false" } : { phone_number_id: group.id };

async function busiest(api: Api, filters: Filters, signal: AbortSignal): Promise<Group[]> {
  const { groups } = await api.stats({ ...filters, group_by: "phone_number" }, signal);
  const shown = (groups ?? []).slice(0, NUMBERS_SHOWN);
  return Promise.all(
    shown.map(async ({ group, total, answer_rate }) => ({
      id: group,
      name: await nameOf(api, group, signal),
      calls: total,
      answerRate: answer_rate,
    })),
  );
}

/** The digits of a phone number, from one of its calls: the API counts numbers by their ids. */
async function nameOf(api: Api, id: string, signal: AbortSignal): Promise<string> {
  if (id === NO_NUMBER) return "without a number";
  if (id === OTHER_NUMBERS) return "all others";
  const { data } = await api.calls({ phone_number_id: id, limit: 1, total: false }, signal);
  const call = data[0];
  return (call?.direction === "outbound" ? call.from_number : call?.to_number) ?? id;
}
