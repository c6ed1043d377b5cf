/** Requests to the public API, with the types of its OpenAPI document. */

import createClient from "openapi-fetch";
import type { components, operations, paths } from "../../generated/api";
import { bounded, contentOf, type Query } from "./content";
import { Failure, failureOf, unreachable } from "./failure";
import type { Session } from "./session";

type Schemas = components["schemas"];
export type Call = Schemas["Call"];
export type CallDetail = Schemas["CallDetail"];
export type CallList = Schemas["CallList"];
export type CallEvent = Schemas["Event"];
export type CallRecording = Schemas["CallRecording"];
export type CallStats = Schemas["CallStats"];
export type CallTrends = Schemas["CallTrends"];
export type Status = Schemas["CallStatus"];
type ListQuery = NonNullable<operations["get_calls"]["parameters"]["query"]>;
type StatsQuery = NonNullable<operations["get_stats"]["parameters"]["query"]>;
type TrendsQuery = NonNullable<operations["get_trends"]["parameters"]["query"]>;

export function headersOf(session: Session): Record<string, string> {
  return {
    Authorization: `Bearer ${session.credential}`,
    ...(session.organizationId && { "x-organization-id": session.organizationId }),
  };
}

export class Api {
  private readonly client;

  constructor(readonly session: Session) {
    this.client = createClient<paths>({ baseUrl: location.origin, headers: headersOf(session) });
  }

  stats(asked: Query, signal: AbortSignal): Promise<CallStats> {
    const query = asked as StatsQuery;
    return contentOf(this.client.GET("/calls/stats", { params: { query }, signal: bounded(signal) }));
  }

  trends(asked: Query, signal: AbortSignal): Promise<CallTrends> {
    const query = asked as TrendsQuery;
    return contentOf(this.client.GET("/calls/trends", { params: { query }, signal: bounded(signal) }));
  }

  async calls(asked: Query, signal: AbortSignal): Promise<CallList> {
    const query = asked as ListQuery;
    const answer = this.client.GET("/calls", { params: { query }, signal: bounded(signal) });
    return (await contentOf(answer)) as CallList;
  }

  call(id: string, signal: AbortSignal): Promise<CallDetail> {
    return contentOf(this.client.GET("/calls/{id}", { params: { path: { id } }, signal: bounded(signal) }));
  }

  events(id: string, offset: number, signal: AbortSignal) {
    const params = { path: { id }, query: { offset } };
    return contentOf(this.client.GET("/calls/{id}/events", { params, signal: bounded(signal) }));
  }

  recording(id: string, recording: string | undefined, signal: AbortSignal) {
    const params = { path: { id }, query: recording === undefined ? {} : { recording } };
    return contentOf(this.client.GET("/calls/{id}/recording", { params, signal: bounded(signal) }));
  }

  async remove(id: string, signal: AbortSignal): Promise<void> {
    await contentOf(this.client.DELETE("/calls/{id}", { params: { path: { id } }, signal: bounded(signal) }));
  }

  /** The calls of a list as a file. Its size is not bounded, so neither is its time. */
  async export(query: URLSearchParams, signal: AbortSignal): Promise<Blob> {
    const answer = await fetch(`/calls/export?${query}`, { headers: headersOf(this.session), signal }).catch(
      () => {
        throw unreachable();
      },
    );
    if (!answer.ok) throw failureOf(answer, await answer.json().catch(() => undefined));
    return answer.blob().catch(() => {
      throw unreachable();
    });
  }
}

export { Failure };
