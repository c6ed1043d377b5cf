/** Bars of numbers, stacked, with a line to compare with. A table beside it has the same numbers. */

import { useRef } from "preact/hooks";
import uPlot from "uplot";
import { number } from "../format";
import { colour, HEIGHT_PIXELS, useChart } from "./use-chart";

export interface Series {
  readonly name: string;
  readonly colour: () => string;
  readonly values: readonly number[];
}

interface BarChartProps {
  readonly label: string;
  readonly names: readonly string[];
  /** The parts of each bar, from the bottom. */
  readonly series: readonly Series[];
  readonly line: Series | null;
  /** Called with the index of the bar that was clicked. */
  readonly onChoose: (index: number) => void;
}

export function BarChart(props: BarChartProps) {
  const latest = useRef(props);
  latest.current = props;
  const key = JSON.stringify([props.names, props.series, props.line]);
  const { place } = useChart((element) => draw(element, latest), key);
  return <div class="chart" ref={place} role="img" aria-label={props.label} />;
}

function draw(element: HTMLElement, latest: { readonly current: BarChartProps }): uPlot {
  const { names, series, line } = latest.current;
  const ink = colour("soft");
  const grid = { stroke: colour("line"), width: 1 };
  const bars = uPlot.paths.bars?.({ size: [0.8, 60] });
  // The highest bar is drawn first, so that each lower one covers its part.
  const stacked = stack(series).reverse();
  const drawn: uPlot.Series[] = stacked.map(({ colour: of, values, name }) => ({
    label: name,
    fill: of(),
    stroke: of(),
    width: 0,
    points: { show: false },
    ...(bars && { paths: bars }),
    value: (_chart, _drawn, _series, index) => (index === null ? "" : number(values[index])),
  }));
  const compared: uPlot.Series[] = line
    ? [
        {
          label: line.name,
          stroke: line.colour(),
          width: 2,
          dash: [5, 4],
          points: { show: false },
          value: (_chart, drawnValue) => (drawnValue === null ? "" : number(drawnValue)),
        },
      ]
    : [];
  const chart = new uPlot(
    {
      width: element.clientWidth,
      height: HEIGHT_PIXELS,
      scales: {
        x: { time: false, range: () => [-0.6, names.length - 0.4] },
        y: { range: (_chart, _low, high) => [0, Math.max(1, high * 1.05)] },
      },
      axes: [
        {
          stroke: ink,
          grid: { show: false },
          ticks: { show: false },
          values: (_chart, places) => places.map((at) => (Number.isInteger(at) ? (names[at] ?? "") : "")),
          space: 90,
        },
        {
          stroke: ink,
          grid,
          ticks: { show: false },
          size: 60,
          incrs: [
            1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6, 1e7, 1e8,
          ],
          values: (_chart, values) => values.map((value) => number(value)),
        },
      ],
      cursor: { drag: { x: false, y: false }, points: { show: false } },
      series: [
        { label: "Bar", value: (_chart, at) => (at === null ? "" : (names[at] ?? "")) },
        ...drawn,
        ...compared,
      ],
    },
    [
      names.map((_, index) => index),
      ...stacked.map((each) => each.heights),
      ...(line ? [[...line.values]] : []),
    ],
    element,
  );
  chart.over.addEventListener("click", () => {
    const index = chart.cursor.idx;
    if (index != null) latest.current.onChoose(index);
  });
  return chart;
}

function stack(series: readonly Series[]): (Series & { heights: number[] })[] {
  const heights: number[] = [];
  return series.map((each) => {
    each.values.forEach((value, index) => {
      heights[index] = (heights[index] ?? 0) + value;
    });
    return { ...each, heights: [...heights] };
  });
}
