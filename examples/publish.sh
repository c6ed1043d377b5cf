#!/bin/sh
# One call, published with kcat: examples/publish.sh BOOTSTRAP ORGANIZATION_ID
# The partitioner is the one that Java's and Python's clients use, so that a key always finds its partition.
set -eu
bootstrap=$1 organization_id=$2
call_id="example-$(date +%s)@pbx.example"

event() { # type, data
    printf '%s|{"id":"%s-%s","type":"%s","organization_id":"%s","call_id":"%s","timestamp":"%s","data":%s}\n' \
        "$call_id" "$call_id" "$1" "$1" "$organization_id" "$call_id" "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$2"
}

{
    event call.initiated '{"direction":"outbound","from_number":"+12125550100","to_number":"+493012345"}'
    event call.failed '{"status":"busy","hangup_cause":"USER_BUSY"}'
} | kcat -P -b "$bootstrap" -t call-events -K '|' -X partitioner=murmur2_random -X enable.idempotence=true
echo "$call_id"
