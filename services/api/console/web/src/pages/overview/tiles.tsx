/** The tiles: each a figure, the calls behind it, and the same figure of the days before. */

import type { ComponentChildren } from "preact";
import { callsAt, type Filters } from "../../addresses";
import type { CallStats } from "../../api/client";
import { duration, milliseconds, money, number, percent, points, signed } from "../../format";

type Figures = Omit<CallStats, "time_zone">;

interface Tile {
  readonly name: string;
  readonly meaning: string;
  readonly value: (figures: Figures) => number | null | undefined;
  readonly shown: (value: number | null | undefined) => string;
  readonly behind: readonly Part[];
}

/** Calls behind a figure: how many, if the API tells it, and the filters of their list. */
interface Part {
  readonly calls?: (figures: Figures) => number;
  readonly what: string;
  readonly filters: Filters;
}

const ALL = { calls: (of: Figures) => of.total, what: "calls", filters: {} };
const ANSWERED = { calls: (of: Figures) => of.answered, what: "answered", filters: { answered: "true" } };
const SEIZURES = { calls: (of: Figures) => of.seizures, what: "seizures", filters: { seizure: "true" } };
const EFFECTIVE = {
  // A ratio of whole numbers, of which the API gives the divisor.
  calls: (of: Figures) => Math.round((of.ner ?? 0) * of.seizures),
  what: "effective",
  filters: { effective: "true" },
};
const TIMED = { what: "answered calls with a duration", filters: { answered: "true", min_duration: "0" } };

const TILES: readonly Tile[] = [
  {
    name: "Calls",
    meaning: "Calls created in the span",
    value: (of) => of.total,
    shown: number,
    behind: [ALL],
  },
  {
    name: "Answered",
    meaning: "Answered calls / calls",
    value: (of) => of.answer_rate,
    shown: percent,
    behind: [ANSWERED, ALL],
  },
  {
    name: "ASR",
    meaning: "Answer-seizure ratio: answered calls / seizures",
    value: (of) => of.asr,
    shown: percent,
    behind: [ANSWERED, SEIZURES],
  },
  {
    name: "NER",
    meaning: "Network effectiveness ratio: effective calls / seizures",
    value: (of) => of.ner,
    shown: percent,
    behind: [EFFECTIVE, SEIZURES],
  },
  {
    name: "ACD",
    meaning: "Average duration of the answered calls that have one",
    value: (of) => of.acd,
    shown: duration,
    behind: [TIMED],
  },
  { name: "Cost", meaning: "Cost of all calls", value: (of) => of.total_cost, shown: money, behind: [ALL] },
  {
    name: "Answer delay, p95",
    meaning: "95% of the answered calls were answered within this time",
    value: (of) => of.percentiles.answer_delay_ms.p95,
    shown: milliseconds,
    behind: [ANSWERED],
  },
];

export function Tiles({ stats, filters }: { stats: CallStats; filters: Filters }) {
  return (
    <ul class="tiles">
      {TILES.map((tile) => (
        <li key={tile.name} class="tile">
          <h2 title={tile.meaning}>{tile.name}</h2>
          <p class="figure">{tile.shown(tile.value(stats))}</p>
          <p class="behind">{behind(tile, stats, filters)}</p>
          {stats.previous && <Before tile={tile} stats={stats} before={stats.previous} filters={filters} />}
        </li>
      ))}
    </ul>
  );
}

function behind(tile: Tile, stats: CallStats, filters: Filters): ComponentChildren {
  return tile.behind.map((part, index) => (
    <span key={part.what}>
      {index > 0 && " of "}
      <a href={callsAt({ ...filters, ...part.filters })}>
        {part.calls && `${number(part.calls(stats))} `}
        {part.what}
      </a>
    </span>
  ));
}

interface BeforeProps {
  readonly tile: Tile;
  readonly stats: CallStats;
  readonly before: NonNullable<CallStats["previous"]>;
  readonly filters: Filters;
}

/** The same figure of the days before, with a link to its calls. */
function Before({ tile, stats, before, filters }: BeforeProps) {
  const list = { ...filters, ...tile.behind[0]?.filters, ...daysOf(before) };
  return (
    <p class="before">
      before <a href={callsAt(list)}>{tile.shown(tile.value(before))}</a>
      {change(tile, tile.value(stats), tile.value(before))}
    </p>
  );
}

/** The days of the span before, as filters of a list. */
export const daysOf = (before: NonNullable<CallStats["previous"]>): Filters => ({
  start_date: before.start_date ?? "",
  end_date: before.end_date ?? "",
});

function change(tile: Tile, now: number | null | undefined, before: number | null | undefined): string {
  if (now == null || !before) return "";
  return ` (${tile.shown === percent ? points(now - before) : signed(now / before - 1)})`;
}
