// Queries a demo server (argument: host:port) with the ADBC driver for Go; prints the number of passed checks.
package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/apache/arrow-adbc/go/adbc"
	"github.com/apache/arrow-adbc/go/adbc/driver/flightsql"
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

var ctx = context.Background()

func that(holds bool, what ...any) {
	if !holds {
		panic(fmt.Sprint(what...))
	}
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// rows runs a statement directly, or prepared with one row of parameters, and returns the number of rows.
func rows(connection adbc.Connection, sql string, parameters arrow.Record) (int64, *arrow.Schema, error) {
	statement := must(connection.NewStatement())
	defer statement.Close()
	if err := statement.SetSqlQuery(sql); err != nil {
		return 0, nil, err
	}
	if parameters != nil {
		if err := statement.Prepare(ctx); err != nil {
			return 0, nil, err
		}
		if err := statement.Bind(ctx, parameters); err != nil {
			return 0, nil, err
		}
	}
	reader, _, err := statement.ExecuteQuery(ctx)
	if err != nil {
		return 0, nil, err
	}
	defer reader.Release()
	count := int64(0)
	for reader.Next() {
		count += reader.Record().NumRows()
	}
	return count, reader.Schema(), reader.Err()
}

func statements(connection adbc.Connection) {
	count, schema, err := rows(connection, "SELECT group_id, committed_at FROM offsets", nil)
	that(err == nil && count > 10, count, err)
	that(schema.Field(0).Type.ID() == arrow.STRING && schema.Field(1).Type.ID() == arrow.TIMESTAMP, schema)
}

func parameters(connection adbc.Connection) {
	schema := arrow.NewSchema([]arrow.Field{{Name: "a", Type: arrow.BinaryTypes.String}, {Name: "b", Type: arrow.PrimitiveTypes.Int64}}, nil)
	builder := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	builder.Field(0).(*array.StringBuilder).Append("lag")
	builder.Field(1).(*array.Int64Builder).Append(3)
	row := builder.NewRecord()
	for _, sql := range []string{
		"SELECT * FROM columns WHERE table_name = ? AND position <= ?",
		"SELECT * FROM columns WHERE table_name = $1 AND position <= $2",
	} {
		count, _, err := rows(connection, sql, row)
		that(err == nil && count == 3, count, err)
	}
}

func objects(connection adbc.Connection) {
	reader := must(connection.GetObjects(ctx, adbc.ObjectDepthAll, nil, nil, nil, nil, nil))
	defer reader.Release()
	that(reader.Next() && reader.Record().NumRows() == 1, "one catalog")
	schema := must(connection.GetTableSchema(ctx, nil, nil, "offsets"))
	that(len(schema.FieldIndices("committed_offset")) == 1, schema)
	info := must(connection.GetInfo(ctx, nil))
	that(info.Next() && info.Record().NumRows() > 3, "info")
}

func refusals(connection adbc.Connection) {
	for sql, word := range map[string]string{"DROP TABLE offsets": "read-only", "SELECT nothing FROM lag": "nothing"} {
		_, _, err := rows(connection, sql, nil)
		that(err != nil && strings.Contains(err.Error(), word), sql, err)
	}
}

func main() {
	database := must(flightsql.NewDriver(memory.DefaultAllocator).NewDatabase(map[string]string{"uri": "grpc://" + os.Args[1]}))
	passed, failed := 0, 0
	for name, check := range map[string]func(adbc.Connection){
		"statements": statements, "parameters": parameters, "objects": objects, "refusals": refusals,
	} {
		func() {
			defer func() {
				if reason := recover(); reason != nil {
					failed++
					fmt.Println("FAILED", name, reason)
				} else {
					passed++
					fmt.Println("ok    ", name)
				}
			}()
			connection := must(database.Open(ctx))
			defer connection.Close()
			check(connection)
		}()
	}
	fmt.Printf("checks: %d passed; %d failed\n", passed, failed)
	if failed > 0 {
		os.Exit(1)
	}
}
