#!/bin/sh
# Publishes one call with kcat: examples/publish.sh BOOTSTRAP ORGANIZATION_ID
# It uses the partitioner of the Java and Python clients, so that a key always maps to the same partition.
set -eu
bootstrap=${1:?usage: examples/publish.sh BOOTSTRAP ORGANIZATION_ID}
organization_id=${2:?usage: examples/publish.sh BOOTSTRAP ORGANIZATION_ID}
call_id="example-$(date +%s)@pbx.example"
second=$(date -u +%Y-%m-%dT%H:%M:%S)

event() { # type, milliseconds, data
    printf '%s|{"id":"%s-%s","type":"%s","organization_id":"%s","call_id":"%s","timestamp":"%s.%sZ","data":%s}\n' \
        "$call_id" "$call_id" "$1" "$1" "$organization_id" "$call_id" "$second" "$2" "$3"
}

{
    event call.initiated 000 '{"direction":"outbound","from_number":"+12125550100","to_number":"+493012345"}'
    event call.failed 900 '{"status":"busy","hangup_cause":"USER_BUSY"}'
} | kcat -P -b "$bootstrap" -t call-events -K '|' -X partitioner=murmur2_random -X enable.idempotence=true
echo "$call_id"
