"""What a person or a host touches: the command line, the shot and its rendering."""
