/** The webhooks of all organizations, and what fails. */

import { useLocation } from "preact-iso";
import { webhooksAt } from "../../addresses";
import { type AdminWebhook, useAdmin } from "../../api/admin";
import { useAnswer } from "../../api/use-answer";
import { usePolling } from "../../api/use-polling";
import { NONE, number, utc } from "../../format";
import { Columns } from "../../ui/columns";
import { Heading } from "../../ui/frame";
import { Pages } from "../../ui/pages";
import { Empty, Loading, Problem } from "../../ui/states";

const REFRESH_MILLISECONDS = 10_000;
const NAMES = ["Organization", "Host", "State", "Waiting", "Given up", "Last failure", "Created"] as const;

export function WebhooksPage() {
  const admin = useAdmin();
  const { query } = useLocation();
  const answer = useAnswer(`webhooks ${query.cursor}`, (signal) =>
    admin.webhooks(query.cursor ? { cursor: query.cursor } : {}, signal),
  );
  usePolling(answer, REFRESH_MILLISECONDS);
  const { content, failure } = answer;
  return (
    <>
      <Heading title="Webhooks">Webhooks</Heading>
      {failure && <Problem failure={failure} onRetry={answer.reload} />}
      {content === null ? (
        !failure && <Loading what="the webhooks" />
      ) : (
        <section aria-busy={answer.isLoading}>
          {content.data.length === 0 ? (
            <Empty>No organization has a webhook. A customer creates one with POST /webhooks.</Empty>
          ) : (
            <List webhooks={content.data} />
          )}
          <Pages
            first={query.cursor ? webhooksAt() : null}
            next={content.next_cursor && webhooksAt({ cursor: content.next_cursor })}
          />
        </section>
      )}
    </>
  );
}

function List({ webhooks }: { webhooks: readonly AdminWebhook[] }) {
  return (
    <>
      <table class="stacked">
        <caption class="unseen">Webhooks, the newest first</caption>
        <Columns names={NAMES} />
        <tbody>
          {webhooks.map((webhook) => (
            <tr key={webhook.id}>
              <th scope="row" data-name="Organization" class="long">
                {webhook.organization_name}
              </th>
              <td data-name="Host" class="long">
                <span>
                  {webhook.host}
                  {!webhook.livemode && <span class="note"> test calls</span>}
                </span>
              </td>
              <td data-name="State" class="long">
                <State webhook={webhook} />
              </td>
              <td data-name="Waiting">{number(webhook.waiting_deliveries)}</td>
              <td data-name="Given up">{number(webhook.failed_deliveries)}</td>
              <td data-name="Last failure">{lastFailure(webhook)}</td>
              <td data-name="Created">{utc(webhook.created_at)}</td>
            </tr>
          ))}
        </tbody>
      </table>
      <p class="note">
        Waiting: messages that callfold will send, or send again. Given up: messages that no attempt
        delivered.
      </p>
    </>
  );
}

function State({ webhook }: { webhook: AdminWebhook }) {
  if (!webhook.enabled)
    return (
      <span>
        <span class="mark" data-mark="bad">
          disabled
        </span>{" "}
        {webhook.disabled_reason
          ? `callfold disabled it: ${webhook.disabled_reason}`
          : "The customer or an operator disabled it."}
      </span>
    );
  if (webhook.failing_since)
    return (
      <span>
        <span class="mark" data-mark="warning">
          failing
        </span>{" "}
        since {utc(webhook.failing_since)}
      </span>
    );
  return (
    <span class="mark" data-mark="good">
      enabled
    </span>
  );
}

function lastFailure({ last_failure_at, last_failure_status }: AdminWebhook): string {
  if (last_failure_at === null) return NONE;
  return `${utc(last_failure_at)} (${last_failure_status === null ? "no answer" : `status ${last_failure_status}`})`;
}
