package main

import (
	"context"
	"database/sql"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib" // also the driver "pgx"
)

const postgresTable = `
CREATE TABLE IF NOT EXISTS flights (
  row_number integer PRIMARY KEY,
  minute integer NOT NULL, delay integer NOT NULL, distance integer NOT NULL,
  origin text NOT NULL, destination text NOT NULL, hour integer NOT NULL, route text NOT NULL
)`

func openPostgres(ctx context.Context, connection string) (*store, error) {
	db, err := sql.Open("pgx", connection)
	if err != nil {
		return nil, err
	}
	if _, err := db.ExecContext(ctx, postgresTable); err != nil {
		return nil, err
	}
	insert := func(ctx context.Context, rows [][]any) error {
		connection, err := db.Conn(ctx)
		if err != nil {
			return err
		}
		defer connection.Close()
		return connection.Raw(func(driver any) error {
			return pgx.BeginFunc(ctx, driver.(*stdlib.Conn).Conn(), func(tx pgx.Tx) error {
				return copyRows(ctx, tx, rows)
			})
		})
	}
	return &store{db, insert}, nil
}

// copyRows copies the rows into a table of the transaction's own and takes over those that are new:
// COPY is several times faster than INSERT, but has no ON CONFLICT.
func copyRows(ctx context.Context, tx pgx.Tx, rows [][]any) error {
	if _, err := tx.Exec(ctx, "CREATE TEMP TABLE batch (LIKE flights) ON COMMIT DROP"); err != nil {
		return err
	}
	if _, err := tx.CopyFrom(ctx, pgx.Identifier{"batch"}, columns, pgx.CopyFromRows(rows)); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, "INSERT INTO flights SELECT * FROM batch ON CONFLICT DO NOTHING")
	return err
}
