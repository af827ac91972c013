// Server: the HTTP server as a service, and what it is configured with.
// The top of this module: nothing else in it knows this room.
