"""The ground floor: errors, states, values, settings, durable moves and the ledger. Imports no other room."""
