"""Sources: telephony systems as they are, and the events in their deliveries.

A delivery is one HTTP request or one Kafka record. `source`, `delivery` and `dialect` define a source, its
deliveries and their reader. `envelopes` finds the records in a delivery, and `record` defines one. `outcome`
defines the results of reading, and `placement` finds a record's organization. `translate` calls all of this.
`instants`, `money`, `parties`, `directions` and `causes` read notations that many systems share. `signatures`
verifies requests, and `sns` the messages of Amazon SNS. `delivery_record` writes and reads a delivery's Kafka
record.

Pure: no I/O, and no clock. Imports `shared.calls`.
"""
