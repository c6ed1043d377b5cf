interface PagesProps {
  /** The address of the first page; null on it. */
  readonly first: string | null;
  /** The address of the next page; null after the last one. */
  readonly next: string | null;
}

/** Links to the other pages of a list. */
export function Pages({ first, next }: PagesProps) {
  return (
    <nav class="pages" aria-label="Pages of the list">
      {first && <a href={first}>First page</a>}
      {next && <a href={next}>Next page</a>}
    </nav>
  );
}
