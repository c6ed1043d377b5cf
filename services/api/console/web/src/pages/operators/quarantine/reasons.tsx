/** The reasons of quarantined records. Each leads to its records. */

import { type Filters, quarantineAt } from "../../../addresses";
import { useAdmin } from "../../../api/admin";
import { useAnswer } from "../../../api/use-answer";
import { number, utc } from "../../../format";
import { Columns } from "../../../ui/columns";
import { Empty, Loading, Problem } from "../../../ui/states";

const REASONS_MAX = 100;
/** The longest text that the API looks for in reasons. */
const REASON_CHARACTERS_MAX = 2_000;

interface ReasonsProps {
  readonly filters: Filters;
  /** Changes when records have left the quarantine. */
  readonly changed: number;
}

export function Reasons({ filters, changed }: ReasonsProps) {
  const admin = useAdmin();
  // The other reasons stay in sight while one is chosen.
  const { reason: chosen = "", ...others } = filters;
  const { content, failure, reload } = useAnswer(`reasons ${JSON.stringify([others, changed])}`, (signal) =>
    admin.reasons({ ...others, limit: REASONS_MAX }, signal),
  );
  return (
    <section>
      <h2 id="reasons">Reasons</h2>
      {failure && <Problem failure={failure} onRetry={reload} />}
      {content === null ? (
        !failure && <Loading what="the reasons" />
      ) : content.length === 0 ? (
        <Empty>There is none.</Empty>
      ) : (
        <table class="stacked" aria-labelledby="reasons">
          <Columns names={["Records", "Reason", "Topic", "Oldest", "Newest"]} />
          <tbody>
            {content.map(({ records, topic, reason, oldest, newest }) => (
              <tr key={`${topic} ${reason}`}>
                <td data-name="Records">{number(records)}</td>
                <th scope="row" data-name="Reason" class="long">
                  <a
                    href={quarantineAt({ ...others, topic, reason: reason.slice(0, REASON_CHARACTERS_MAX) })}
                    aria-current={chosen === reason && filters.topic === topic ? "true" : undefined}
                  >
                    {reason}
                  </a>
                </th>
                <td data-name="Topic" class="long">
                  {topic}
                </td>
                <td data-name="Oldest">{utc(oldest)}</td>
                <td data-name="Newest">{utc(newest)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      {content?.length === REASONS_MAX && <p class="note">These are the {REASONS_MAX} most frequent.</p>}
    </section>
  );
}
