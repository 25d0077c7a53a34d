"""How values travel: XML-RPC and JSON-RPC in XAPI's own dialects."""
