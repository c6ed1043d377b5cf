/** The filters of quarantined records: those of GET /admin/quarantine, under the same names. */

import { useEffect, useState } from "preact/hooks";
import { useLocation } from "preact-iso";
import { type Filters, quarantineAt } from "../../../addresses";

const FIELDS = [
  { name: "topic", label: "Topic", hint: "call-events" },
  { name: "organization_id", label: "Organization id", hint: "b6d9a1f4-2f6e-4b0c-9a70-5a7f6f1f9a01" },
  { name: "reason", label: "Reason contains", hint: "is missing" },
] as const;

export function QuarantineFilters({ filters }: { filters: Filters }) {
  const { route } = useLocation();
  const [typed, setTyped] = useState<Filters>(filters);
  // biome-ignore lint/correctness/useExhaustiveDependencies: the fields follow the address.
  useEffect(() => setTyped(filters), [JSON.stringify(filters)]);
  return (
    <form
      class="filters"
      aria-label="Filters"
      onSubmit={(event) => {
        event.preventDefault();
        const trimmed = Object.entries(typed).map(([name, value]) => [name, value.trim()]);
        route(quarantineAt(Object.fromEntries(trimmed)));
      }}
    >
      <div class="fields">
        {FIELDS.map(({ name, label, hint }) => (
          <label key={name}>
            <span>{label}</span>
            <input
              name={name}
              placeholder={hint}
              autocomplete="off"
              spellcheck={false}
              value={typed[name] ?? ""}
              onInput={(event) => setTyped({ ...typed, [name]: event.currentTarget.value })}
            />
          </label>
        ))}
        <span class="actions">
          <button type="submit" class="primary">
            Show
          </button>
          <a href={quarantineAt()}>Clear</a>
        </span>
      </div>
    </form>
  );
}
