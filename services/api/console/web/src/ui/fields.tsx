import { NONE } from "../format";

/** Names with their values; null: there is none. */
export function Fields({ fields }: { fields: readonly (readonly [string, string | null])[] }) {
  return (
    <section>
      <h2>Fields</h2>
      <dl class="fields-of-call">
        {fields.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value ?? NONE}</dd>
          </div>
        ))}
      </dl>
    </section>
  );
}
