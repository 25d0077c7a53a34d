"""The API on the wire: who asks and what they may, over TCP and on the socket, the live stream, the page."""
