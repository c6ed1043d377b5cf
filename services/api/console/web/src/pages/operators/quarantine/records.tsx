/** A page of quarantined records, of which a person selects some. */

import { recordAt } from "../../../addresses";
import type { QuarantinedRecord } from "../../../api/admin";
import { NONE, utc } from "../../../format";
import { Columns } from "../../../ui/columns";

interface RecordsProps {
  readonly records: readonly QuarantinedRecord[];
  readonly chosen: ReadonlySet<string>;
  readonly onChoose: (chosen: ReadonlySet<string>) => void;
}

export function Records({ records, chosen, onChoose }: RecordsProps) {
  const isAll = chosen.size === records.length;
  return (
    <>
      <label class="check">
        <input
          type="checkbox"
          checked={isAll}
          indeterminate={chosen.size > 0 && !isAll}
          onChange={() => onChoose(isAll ? new Set() : new Set(records.map((record) => record.id)))}
        />
        <span>Select all records of this page</span>
      </label>
      <table class="stacked">
        <caption class="unseen">Quarantined records, the newest first</caption>
        <Columns names={["Select", "Quarantined", "Topic partition:offset", "Organization", "Reason"]} />
        <tbody>
          {records.map((record) => (
            <tr key={record.id}>
              <td data-name="Select">
                <input
                  type="checkbox"
                  aria-label={`Select the record ${positionOf(record)}`}
                  checked={chosen.has(record.id)}
                  onChange={(event) => {
                    const next = new Set(chosen);
                    if (event.currentTarget.checked) next.add(record.id);
                    else next.delete(record.id);
                    onChoose(next);
                  }}
                />
              </td>
              <th scope="row" data-name="Quarantined">
                <a href={recordAt(record.id)}>{utc(record.quarantined_at)}</a>
              </th>
              <td data-name="Position" class="long">
                {positionOf(record)}
              </td>
              <td data-name="Organization" class="long">
                {record.organization_id ?? NONE}
              </td>
              <td data-name="Reason" class="long">
                {record.reason}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </>
  );
}

const positionOf = ({ topic, partition, offset }: QuarantinedRecord) => `${topic} ${partition}:${offset}`;
