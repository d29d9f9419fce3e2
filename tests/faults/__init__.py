"""Commands that are killed, crowded, starved of disk, or given damaged files. See docs/reliability.md."""
