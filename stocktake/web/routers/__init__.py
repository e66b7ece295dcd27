"""The endpoints, one module for each kind of thing that is asked for; ``stocktake.web.app`` puts them together."""
