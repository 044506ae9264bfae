"""Models behind an HTTP API, with a web page: `create_app` makes the application, `onelook serve` runs it."""
