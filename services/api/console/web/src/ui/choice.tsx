/** Links of which one is chosen. */

export interface Option {
  readonly name: string;
  readonly href: string;
  readonly isChosen: boolean;
}

export function Choice({ label, options }: { label: string; options: readonly Option[] }) {
  return (
    <nav class="choice" aria-label={label}>
      {options.map((option) => (
        <a key={option.name} href={option.href} aria-current={option.isChosen ? "true" : undefined}>
          {option.name}
        </a>
      ))}
    </nav>
  );
}
