"""A decoder of the Gridbeat sync protocol, written from sync-protocol/PROTOCOL.md alone.

It exists to show that the document is complete: it shares no line with the engine, and was not written from its
source. Numbers in comments are sections of the document. It reads single messages; a session has more rules.
"""
