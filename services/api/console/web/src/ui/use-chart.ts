/** A chart that follows the width of its place and the colour scheme. */

import type { RefObject } from "preact";
import { useEffect, useRef } from "preact/hooks";
import type uPlot from "uplot";
import "uplot/dist/uPlot.min.css";

export const HEIGHT_PIXELS = 260;

export interface Chart {
  readonly place: RefObject<HTMLDivElement | null>;
  readonly drawn: { readonly current: uPlot | null };
}

/** Draws again whenever `key` changes. `draw` reads the latest numbers. */
export function useChart(draw: (element: HTMLElement) => uPlot, key: string): Chart {
  const place = useRef<HTMLDivElement>(null);
  const drawn = useRef<uPlot | null>(null);
  const latest = useRef(draw);
  latest.current = draw;

  // biome-ignore lint/correctness/useExhaustiveDependencies: `key` names what is drawn.
  useEffect(() => {
    const element = place.current;
    if (element === null) return;
    drawn.current = latest.current(element);
    const resized = new ResizeObserver(() =>
      drawn.current?.setSize({ width: element.clientWidth, height: HEIGHT_PIXELS }),
    );
    resized.observe(element);
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const redraw = () => {
      drawn.current?.destroy();
      drawn.current = latest.current(element);
    };
    dark.addEventListener("change", redraw);
    return () => {
      dark.removeEventListener("change", redraw);
      resized.disconnect();
      drawn.current?.destroy();
      drawn.current = null;
    };
  }, [key]);

  return { place, drawn };
}

/** A colour of the style sheet in the present colour scheme. */
export const colour = (name: string) =>
  getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
