/** The console's own addresses. Filters are query parameters with the API's names. */

export type Filters = Readonly<Record<string, string>>;

const withQuery = (path: string, filters: Filters) => {
  const query = new URLSearchParams(Object.entries(filters).filter(([, value]) => value !== ""));
  return query.size ? `${path}?${query}` : path;
};

export const overviewAt = (filters: Filters = {}) => withQuery("/console/", filters);
export const callsAt = (filters: Filters = {}) => withQuery("/console/calls", filters);
export const callAt = (id: string) => `/console/calls/${id}`;
