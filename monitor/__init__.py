"""What operators watch: lag, watermark, backlog, head; later the cutover of a migration."""
