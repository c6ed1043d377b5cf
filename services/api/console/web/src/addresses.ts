/** The consoles' own addresses. Filters are query parameters with the API's names. */

export type Filters = Readonly<Record<string, string>>;

const withQuery = (path: string, filters: Filters) => {
  const query = new URLSearchParams(Object.entries(filters).filter(([, value]) => value !== ""));
  return query.size ? `${path}?${query}` : path;
};

/** The path of the first page, as `useLocation` returns it. */
export const FIRST_PATH = "/console";

export const overviewAt = (filters: Filters = {}) => withQuery("/console/", filters);
export const callsAt = (filters: Filters = {}) => withQuery("/console/calls", filters);
export const callAt = (id: string) => `/console/calls/${id}`;

// Of operators.
export const healthAt = () => "/console/";
export const quarantineAt = (filters: Filters = {}) => withQuery("/console/quarantine", filters);
export const recordAt = (id: string) => `/console/quarantine/${id}`;
export const sourcesAt = () => "/console/sources";
export const sourceAt = (id: string) => `/console/sources/${id}`;
export const webhooksAt = (filters: Filters = {}) => withQuery("/console/webhooks", filters);
export const proofsAt = () => "/console/proofs";
export const proofAt = (id: string) => `/console/proofs/${id}`;
