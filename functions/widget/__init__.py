"""The custom widget of the dashboard: what serves, what it costs and how the last run ended."""
