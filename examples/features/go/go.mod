module github.com/tuskd/tuskd/examples/features/go

go 1.24

require github.com/tuskd/tuskd/workers/go v0.0.0

require (
	github.com/pierrec/lz4/v4 v4.1.33 // indirect
	github.com/vmihailenco/msgpack/v5 v5.4.1 // indirect
	github.com/vmihailenco/tagparser/v2 v2.0.0 // indirect
)

replace github.com/tuskd/tuskd/workers/go => ../../../workers/go
