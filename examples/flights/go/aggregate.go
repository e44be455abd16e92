package main

import (
	"context"
	"database/sql"
	"fmt"
)

// Group is one way to look at the flights: by key, the measures of all flights of that key.
type Group map[string][]int64

// groups by name, and what makes the key. Every column is a key or in a measure.
var groups = map[string]string{
	"all":         "'all'",
	"hour":        "hour",
	"origin":      "origin",
	"destination": "destination",
	"route":       "route",
}

// measures are integers, so that there is one right answer to the last digit. The last four tie each
// value to its row: they change when two rows swap a value.
var measures = []string{
	"COUNT(*)",
	"SUM(delay)",
	"SUM(distance)",
	"SUM(CASE WHEN delay > 15 THEN 1 ELSE 0 END)",
	"SUM(row_number)",
	"SUM(CAST(row_number AS BIGINT) * minute)",
	"SUM(CAST(row_number AS BIGINT) * delay)",
	"SUM(CAST(row_number AS BIGINT) * distance)",
}

// aggregate computes every group.
func aggregate(ctx context.Context, db *sql.DB) (map[string]Group, error) {
	all := map[string]Group{}
	for name, key := range groups {
		group, err := aggregateBy(ctx, db, key)
		if err != nil {
			return nil, err
		}
		all[name] = group
	}
	return all, nil
}

func aggregateBy(ctx context.Context, db *sql.DB, key string) (Group, error) {
	query := fmt.Sprintf("SELECT CAST(%s AS TEXT)", key)
	for _, measure := range measures {
		query += fmt.Sprintf(", CAST(%s AS BIGINT)", measure)
	}
	rows, err := db.QueryContext(ctx, query+" FROM flights GROUP BY 1")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	group := Group{}
	for rows.Next() {
		var key string
		numbers := make([]int64, len(measures))
		targets := []any{&key}
		for i := range numbers {
			targets = append(targets, &numbers[i])
		}
		if err := rows.Scan(targets...); err != nil {
			return nil, err
		}
		group[key] = numbers
	}
	return group, rows.Err()
}
