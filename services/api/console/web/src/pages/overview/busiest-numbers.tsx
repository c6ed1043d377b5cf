/** The organization's phone numbers with the most calls. */

import { useEffect } from "preact/hooks";
import { callsAt, type Filters, overviewAt } from "../../addresses";
import type { Api, Call } from "../../api/client";
import { Failure } from "../../api/failure";
import { useAnswer, useApi, useThrottled } from "../../api/use-answer";
import { number, percent } from "../../format";
import { Columns } from "../../ui/columns";
import { Empty, Loading, Problem } from "../../ui/states";

const NUMBERS_SHOWN = 10;
/** Figures of each number cost the API more than those of all. */
const REFRESH_MILLISECONDS = 15_000;
/** Groups that are not one phone number. */
const NO_NUMBER = "none";
const OTHER_NUMBERS = "other";

interface Group {
  readonly id: string;
  /** The filters of its calls; null if a list cannot have them. */
  readonly filters: Filters | null;
  readonly name: string;
  readonly calls: number;
  readonly answerRate: number | null;
}

export function BusiestNumbers({ filters, total }: { filters: Filters; total: number }) {
  const api = useApi();
  const key = `numbers ${JSON.stringify(filters)}`;
  const { content, failure, reload, refresh } = useAnswer(key, (signal) => busiest(api, filters, signal));
  const refreshSoon = useThrottled(refresh, REFRESH_MILLISECONDS);
  // biome-ignore lint/correctness/useExhaustiveDependencies: the total tells that calls have come.
  useEffect(refreshSoon, [total]);
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
          <Columns names={["Number", "Calls", "Answered"]} />
          <tbody>
            {content.map((group) => (
              <tr key={group.id}>
                <th scope="row">
                  {group.filters?.phone_number_id ? (
                    <a href={overviewAt(group.filters)}>{group.name}</a>
                  ) : (
                    group.name
                  )}
                </th>
                <td>
                  {group.filters ? (
                    <a href={callsAt(group.filters)}>{number(group.calls)}</a>
                  ) : (
                    number(group.calls)
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

function filtersOf(group: string, filters: Filters): Filters | null {
  if (group === OTHER_NUMBERS) return null;
  if (group === NO_NUMBER) return { ...filters, has_phone_number: "false" };
  return { ...filters, phone_number_id: group };
}

async function busiest(api: Api, filters: Filters, signal: AbortSignal): Promise<Group[]> {
  const { groups } = await api.stats({ ...filters, group_by: "phone_number" }, signal);
  const shown = (groups ?? []).slice(0, NUMBERS_SHOWN);
  return Promise.all(
    shown.map(async ({ group, total, answer_rate }) => ({
      id: group,
      filters: filtersOf(group, filters),
      name: await nameOf(api, group, signal),
      calls: total,
      answerRate: answer_rate,
    })),
  );
}

/** The digits of phone numbers by their ids. They do not change, and each costs a request. */
const known = new Map<string, string>();

/** The digits of a phone number, from one of its calls: the API counts numbers by their ids. */
async function nameOf(api: Api, id: string, signal: AbortSignal): Promise<string> {
  if (id === NO_NUMBER) return "without a number";
  if (id === OTHER_NUMBERS) return "all others";
  const name = known.get(id);
  if (name !== undefined) return name;
  const call = await newestCall(api, id, signal);
  const digits = (call?.direction === "outbound" ? call.from_number : call?.to_number) ?? id;
  known.set(id, digits);
  return digits;
}

/** The newest call of a phone number; none if the key may see figures but no calls. */
async function newestCall(api: Api, id: string, signal: AbortSignal): Promise<Call | undefined> {
  try {
    return (await api.calls({ phone_number_id: id, limit: 1, total: false }, signal)).data[0];
  } catch (failure) {
    if (failure instanceof Failure && failure.status === 403) return undefined;
    throw failure;
  }
}
