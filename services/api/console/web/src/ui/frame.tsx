/** The frame of each page: a link to its content, the navigation, and the content. */

import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";

export interface Place {
  readonly name: string;
  readonly href: string;
  readonly isCurrent: boolean;
}

interface FrameProps {
  readonly places: readonly Place[];
  /** What the header says beside the navigation. */
  readonly aside: ComponentChildren;
  readonly children: ComponentChildren;
}

export function Frame({ places, aside, children }: FrameProps) {
  return (
    <>
      <a class="skip" href="#content">
        Skip to the content
      </a>
      <header class="bar">
        <span class="product">callfold</span>
        <nav aria-label="Pages">
          {places.map((place) => (
            <a key={place.href} href={place.href} aria-current={place.isCurrent ? "page" : undefined}>
              {place.name}
            </a>
          ))}
        </nav>
        <div class="aside">{aside}</div>
      </header>
      <main id="content" tabIndex={-1}>
        {children}
      </main>
    </>
  );
}

/** The heading of a page, which is also its title. It takes the focus, so that screen readers read it. */
export function Heading({ children, title }: { children: ComponentChildren; title: string }) {
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    document.title = `${title} – callfold`;
  }, [title]);
  useEffect(() => heading.current?.focus(), []);
  return (
    <h1 ref={heading} tabIndex={-1}>
      {children}
    </h1>
  );
}
