/** The calls of the list as a file, with the same filters. */

import { useState } from "preact/hooks";
import type { Filters } from "../../addresses";
import { Failure } from "../../api/failure";
import { useSession } from "../../api/session";
import { useApi } from "../../api/use-answer";

/** Parameters of the list that an export does not have. */
const OF_LISTS = ["sort", "limit", "page", "offset", "total"];

const KEPT_MILLISECONDS = 60_000;

export function Export({ filters }: { filters: Filters }) {
  const api = useApi();
  const { timeZone } = useSession();
  const [message, setMessage] = useState("");

  async function save(format: "csv" | "ndjson") {
    const query = new URLSearchParams(Object.entries(filters).filter(([name]) => !OF_LISTS.includes(name)));
    query.set("format", format);
    query.set("time_zone", timeZone);
    setMessage("Exporting …");
    try {
      download(await api.export(query, new AbortController().signal), `calls.${format}`);
      setMessage("");
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      setMessage(error.message);
    }
  }

  return (
    <span class="export">
      <span role="status">{message}</span>
      <button type="button" onClick={() => save("csv")}>
        Export CSV
      </button>
      <button type="button" onClick={() => save("ndjson")}>
        Export JSON lines
      </button>
    </span>
  );
}

function download(content: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  // The browser reads the content after the click.
  setTimeout(() => URL.revokeObjectURL(link.href), KEPT_MILLISECONDS);
}
