/** The filters of the list: those of GET /calls, under the same names. */

import type { ComponentChildren } from "preact";
import { useLocation } from "preact-iso";
import { callsAt, type Filters } from "../../addresses";
import { words } from "../../format";
import { STATUSES } from "../../statuses";

interface Field {
  readonly name: string;
  readonly label: string;
  readonly hint?: string;
  /** The values to choose from, with their names. Without them, it is a text. */
  readonly options?: readonly (readonly [string, string])[];
}

const YES_OR_NO = [
  ["true", "yes"],
  ["false", "no"],
] as const;

const FIELDS: readonly Field[] = [
  { name: "number", label: "Number contains", hint: "901820" },
  { name: "from_number", label: "From number", hint: "+4930901820 or +4930*" },
  { name: "to_number", label: "To number", hint: "+4930901820 or +4930*" },
  {
    name: "direction",
    label: "Direction",
    options: [
      ["inbound", "inbound"],
      ["outbound", "outbound"],
      ["unknown", "unknown"],
    ],
  },
  { name: "answered", label: "Answered", options: YES_OR_NO },
  { name: "seizure", label: "Seizure", options: YES_OR_NO },
  { name: "effective", label: "Effective", options: YES_OR_NO },
  { name: "counted_cause", label: "Hangup cause, as counted", hint: "USER_BUSY, NONE or OTHER" },
  { name: "hangup_cause", label: "Hangup cause, as sent", hint: "USER_BUSY" },
  { name: "min_duration", label: "At least seconds" },
  { name: "max_duration", label: "At most seconds" },
  { name: "has_recording", label: "Recording", options: YES_OR_NO },
  { name: "has_transcript", label: "Transcript", options: YES_OR_NO },
  { name: "has_phone_number", label: "Phone number known", options: YES_OR_NO },
  { name: "external_id", label: "Id of the source" },
  { name: "phone_number_id", label: "Phone number id" },
  { name: "endpoint_id", label: "Endpoint id" },
  {
    name: "sort",
    label: "Sort by",
    options: [
      ["created_at", "creation"],
      ["duration", "duration"],
      ["cost", "cost"],
    ],
  },
  {
    name: "order",
    label: "Order",
    options: [
      ["desc", "highest or newest first"],
      ["asc", "lowest or oldest first"],
    ],
  },
];

/** Filters that are always visible. */
const FIRST = ["number", "direction"];

export function FilterForm({ filters }: { filters: Filters }) {
  const { route } = useLocation();
  const rest = FIELDS.filter((field) => !FIRST.includes(field.name));
  const isOpen = rest.some((field) => filters[field.name]);
  const chosen = new Set(filters.status?.split(","));
  return (
    <form
      class="filters"
      aria-label="Filters"
      onSubmit={(event) => {
        event.preventDefault();
        route(callsAt(filtersOf(new FormData(event.currentTarget))));
      }}
    >
      <fieldset class="statuses">
        <legend>Status</legend>
        {STATUSES.map((status) => (
          <label key={status}>
            <input type="checkbox" name="status" value={status} defaultChecked={chosen.has(status)} />
            <span class="status" data-status={status}>
              {words(status)}
            </span>
          </label>
        ))}
      </fieldset>
      <div class="fields">
        <Bound name="start_date" label="From" value={filters.start_date} />
        <Bound name="end_date" label="To" value={filters.end_date} />
        {FIELDS.filter((field) => FIRST.includes(field.name)).map((field) => (
          <Input key={field.name} field={field} value={filters[field.name]} />
        ))}
        <span class="actions">
          <button type="submit" class="primary">
            Show
          </button>
          <a href={callsAt()}>Clear</a>
        </span>
      </div>
      <details open={isOpen}>
        <summary>All filters</summary>
        <div class="fields">
          {rest.map((field) => (
            <Input key={field.name} field={field} value={filters[field.name]} />
          ))}
        </div>
      </details>
    </form>
  );
}

/** The filters of a submitted form. Several statuses are one value. */
function filtersOf(form: FormData): Filters {
  const filters: Record<string, string> = { status: form.getAll("status").join(",") };
  for (const [name, value] of form) {
    if (name !== "status" && typeof value === "string") filters[name] = value.trim();
  }
  return filters;
}

/** A day, or a timestamp that came with the address: of an hour, for example. */
function Bound({ name, label, value }: { name: string; label: string; value: string | undefined }) {
  const isInstant = value !== undefined && value.length > 10;
  return (
    <Labelled label={label}>
      {isInstant ? (
        <input name={name} defaultValue={value} />
      ) : (
        <input type="date" name={name} defaultValue={value ?? ""} />
      )}
    </Labelled>
  );
}

function Input({ field, value }: { field: Field; value: string | undefined }) {
  return (
    <Labelled label={field.label}>
      {field.options ? (
        <select name={field.name} defaultValue={value ?? ""}>
          <option value="">any</option>
          {field.options.map(([of, name]) => (
            <option key={of} value={of} selected={of === value}>
              {name}
            </option>
          ))}
        </select>
      ) : (
        <input
          name={field.name}
          defaultValue={value ?? ""}
          placeholder={field.hint ?? ""}
          autocomplete="off"
          spellcheck={false}
        />
      )}
    </Labelled>
  );
}

function Labelled({ label, children }: { label: string; children: ComponentChildren }) {
  return (
    // biome-ignore lint/a11y/noLabelWithoutControl: the control is the child.
    <label>
      <span>{label}</span>
      {children}
    </label>
  );
}
