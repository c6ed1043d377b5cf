/** Requests to the admin API, with the types of its OpenAPI document. */

import createClient from "openapi-fetch";
import { createContext } from "preact";
import { useContext } from "preact/hooks";
import type { components, operations, paths } from "../../generated/admin";
import { bounded, contentOf, type Query } from "./content";

type Schemas = components["schemas"];
export type Lag = Schemas["Lag"];
export type TopicLag = Schemas["TopicLag"];
export type QuarantinedRecord = Schemas["QuarantinedRecord"];
export type QuarantinedContent = Schemas["QuarantinedContent"];
export type QuarantineReason = Schemas["QuarantineReason"];
export type Bytes = Schemas["Bytes"];
export type Redriven = Schemas["Redriven"];
export type Source = Schemas["Source"];
export type LastDeliveries = Schemas["LastDeliveries"];
export type LastDelivery = Schemas["LastDelivery"];
export type AdminWebhook = Schemas["AdminWebhook"];
export type Proof = Schemas["Proof"];
type QuarantineQuery = NonNullable<operations["list_quarantined_records"]["parameters"]["query"]>;
type ReasonsQuery = NonNullable<operations["list_quarantine_reasons"]["parameters"]["query"]>;
type WebhooksQuery = NonNullable<operations["list_webhooks"]["parameters"]["query"]>;

/** The admin API gives its statements so long when they work on many calls. */
const ACTION_MILLISECONDS = 90_000;

/** The token's name in session storage. */
export const STORED_TOKEN = "callfold.operator";

export class AdminApi {
  private readonly client;

  constructor(token: string) {
    const headers = { Authorization: `Bearer ${token}` };
    this.client = createClient<paths>({ baseUrl: location.origin, headers });
  }

  lag(signal: AbortSignal): Promise<Lag> {
    return contentOf(this.client.GET("/admin/lag", { signal: bounded(signal) }));
  }

  records(asked: Query, signal: AbortSignal) {
    const query = asked as QuarantineQuery;
    return contentOf(this.client.GET("/admin/quarantine", { params: { query }, signal: bounded(signal) }));
  }

  async reasons(asked: Query, signal: AbortSignal): Promise<QuarantineReason[]> {
    const params = { query: asked as ReasonsQuery };
    const answer = this.client.GET("/admin/quarantine/reasons", { params, signal: bounded(signal) });
    return (await contentOf(answer)).data;
  }

  record(id: string, signal: AbortSignal): Promise<QuarantinedContent> {
    const params = { path: { id } };
    return contentOf(this.client.GET("/admin/quarantine/{id}", { params, signal: bounded(signal) }));
  }

  async sources(signal: AbortSignal): Promise<Source[]> {
    return (await contentOf(this.client.GET("/admin/sources", { signal: bounded(signal) }))).data;
  }

  deliveries(sourceId: string, signal: AbortSignal): Promise<LastDeliveries> {
    const params = { path: { id: sourceId } };
    return contentOf(this.client.GET("/admin/sources/{id}/deliveries", { params, signal: bounded(signal) }));
  }

  webhooks(asked: Query, signal: AbortSignal) {
    const query = asked as WebhooksQuery;
    return contentOf(this.client.GET("/admin/webhooks", { params: { query }, signal: bounded(signal) }));
  }

  async proofs(signal: AbortSignal): Promise<Proof[]> {
    return (await contentOf(this.client.GET("/admin/proofs", { signal: bounded(signal) }))).data;
  }

  proof(id: string, signal: AbortSignal): Promise<Proof> {
    const params = { path: { id } };
    return contentOf(this.client.GET("/admin/proofs/{id}", { params, signal: bounded(signal) }));
  }

  // A page that is left does not end an action.

  redrive(ids: readonly string[]): Promise<Redriven> {
    const asked = { body: { ids: [...ids] }, signal: AbortSignal.timeout(ACTION_MILLISECONDS) };
    return contentOf(this.client.POST("/admin/quarantine/redrive", asked));
  }

  startProof(): Promise<Proof> {
    return contentOf(this.client.POST("/admin/proofs", { signal: AbortSignal.timeout(ACTION_MILLISECONDS) }));
  }

  async discard(ids: readonly string[]): Promise<number> {
    const asked = { body: { ids: [...ids] }, signal: AbortSignal.timeout(ACTION_MILLISECONDS) };
    return (await contentOf(this.client.POST("/admin/quarantine/discard", asked))).discarded;
  }
}

export const AdminContext = createContext<AdminApi | null>(null);

/** The admin API with the operator's token. Throws outside of a signed-in page. */
export function useAdmin(): AdminApi {
  const admin = useContext(AdminContext);
  if (admin === null) throw new Error("This page needs a token.");
  return admin;
}
