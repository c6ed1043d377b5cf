/** Two lines over the time that a page is open, each with its own axis. */

import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import { clockTime, number, rate } from "../format";
import { colour, HEIGHT_PIXELS, useChart } from "./use-chart";

export interface Line {
  readonly name: string;
  /** The name of its colour in the style sheet. */
  readonly colour: string;
  readonly values: readonly (number | null)[];
}

interface LineChartProps {
  readonly label: string;
  /** Seconds since 1970. */
  readonly times: readonly number[];
  readonly left: Line;
  readonly right: Line;
}

export function LineChart(props: LineChartProps) {
  const latest = useRef(props);
  latest.current = props;
  const { place, drawn } = useChart((element) => draw(element, latest.current), props.left.name);
  // biome-ignore lint/correctness/useExhaustiveDependencies: the times change with each number.
  useEffect(() => drawn.current?.setData(numbersOf(latest.current)), [props.times, drawn]);
  return <div class="chart" ref={place} role="img" aria-label={props.label} />;
}

const numbersOf = ({ times, left, right }: LineChartProps): uPlot.AlignedData => [
  [...times],
  [...left.values],
  [...right.values],
];

function draw(element: HTMLElement, props: LineChartProps): uPlot {
  const ink = colour("soft");
  const line = (of: Line, scale: string, dash: number[]): uPlot.Series => ({
    label: of.name,
    scale,
    stroke: colour(of.colour),
    width: 2,
    dash,
    value: (_chart, value) => rate(value),
  });
  const axis = (of: Line, scale: string, side: 1 | 3): uPlot.Axis => ({
    scale,
    side,
    stroke: colour(of.colour),
    grid: { show: side === 3, stroke: colour("line"), width: 1 },
    ticks: { show: false },
    size: 60,
    incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6, 1e7, 1e8],
    values: (_chart, values) => values.map(number),
  });
  const fromZero: uPlot.Scale = { range: (_chart, _low, high) => [0, Math.max(1, (high ?? 0) * 1.1)] };
  return new uPlot(
    {
      width: element.clientWidth,
      height: HEIGHT_PIXELS,
      scales: { left: fromZero, right: fromZero },
      axes: [
        {
          stroke: ink,
          grid: { show: false },
          ticks: { show: false },
          space: 90,
          values: (_chart, times) => times.map(clockTime),
        },
        axis(props.left, "left", 3),
        axis(props.right, "right", 1),
      ],
      cursor: { drag: { x: false, y: false } },
      series: [
        { label: "Time", value: (_chart, time) => (time === null ? "" : clockTime(time)) },
        line(props.left, "left", []),
        line(props.right, "right", [5, 4]),
      ],
    },
    numbersOf(props),
    element,
  );
}
