package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"
)

// fromTagged reads tagged JSON (BODY.md) as the value that the SDK sends.
func fromTagged(tagged any) any {
	fields, ok := tagged.(map[string]any)
	if !ok {
		return tagged // null, true, false
	}
	for kind, inner := range fields {
		switch inner := inner.(type) {
		case string:
			return fromText(kind, inner)
		case []any:
			return fromList(kind, inner)
		}
	}
	panic(fmt.Sprintf("no tagged value: %v", tagged))
}

func fromText(kind, text string) any {
	switch kind {
	case "int":
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return n
		}
		return must(strconv.ParseUint(text, 10, 64))
	case "float":
		return must(strconv.ParseFloat(text, 64))
	case "bytes":
		return must(hex.DecodeString(text))
	}
	return text
}

func fromList(kind string, inner []any) any {
	switch kind {
	case "map":
		pairs := make(map[string]any, len(inner))
		for _, pair := range inner {
			pairs[pair.([]any)[0].(string)] = fromTagged(pair.([]any)[1])
		}
		return pairs
	case "timestamp":
		seconds := must(strconv.ParseInt(inner[0].(string), 10, 64))
		return time.Unix(seconds, must(inner[1].(json.Number).Int64())).UTC()
	}
	list := make([]any, len(inner))
	for i, item := range inner {
		list[i] = fromTagged(item)
	}
	return list
}

func toTagged(value any) any {
	switch v := value.(type) {
	case nil, bool:
		return v
	case int64:
		return map[string]any{"int": strconv.FormatInt(v, 10)}
	case uint64:
		return map[string]any{"int": strconv.FormatUint(v, 10)}
	case float64:
		return map[string]any{"float": floatText(v)}
	case string:
		return map[string]any{"text": v}
	case []byte:
		return map[string]any{"bytes": hex.EncodeToString(v)}
	case []any:
		list := make([]any, len(v))
		for i, item := range v {
			list[i] = toTagged(item)
		}
		return map[string]any{"list": list}
	case map[string]any:
		pairs := [][2]any{}
		for key, item := range v {
			pairs = append(pairs, [2]any{key, toTagged(item)})
		}
		return map[string]any{"map": pairs}
	case time.Time:
		return map[string]any{"timestamp": []any{strconv.FormatInt(v.Unix(), 10), v.Nanosecond()}}
	}
	panic(fmt.Sprintf("%T is no value of BODY.md", value))
}

func floatText(f float64) string {
	switch {
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	}
	return strconv.FormatFloat(f, 'g', -1, 64)
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}
