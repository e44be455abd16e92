package main

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
)

// columns of a row: the number of the flight, then the item's list as it came from analysis.
var columns = []string{"row_number", "minute", "delay", "distance", "origin", "destination", "hour", "route"}

// store is a database with the table flights.
type store struct {
	*sql.DB
	// insert commits the rows; those whose number is there already change nothing.
	insert func(ctx context.Context, rows [][]any) error
}

// open takes sqlite:PATH or postgresql:CONNECTION.
func open(ctx context.Context, database string) (*store, error) {
	kind, where, _ := strings.Cut(database, ":")
	switch kind {
	case "sqlite":
		return openSQLite(ctx, where)
	case "postgresql":
		return openPostgres(ctx, where)
	}
	return nil, fmt.Errorf("FLIGHTS_DATABASE is %q, neither sqlite:PATH nor postgresql:CONNECTION", database)
}
