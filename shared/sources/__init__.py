"""Sources: telephony systems as they are, and the events in their deliveries.

A delivery is one HTTP request or one Kafka record. A source, its deliveries and their reader are defined in
source.py, delivery.py and dialect.py. The records in a delivery come from envelopes.py; record.py defines
one. A record's results are in outcome.py, and placement.py finds its organization. All of this is called by
translate.py. Notations that many systems share are read in instants.py, money.py, parties.py,
directions.py, causes.py and signatures.py. The messages of Amazon SNS are verified in sns.py. A delivery's
Kafka record is in delivery_record.py, and secret_box.py encrypts a source's secrets.

Pure: no I/O, and no clock. Imports shared.calls.
"""
