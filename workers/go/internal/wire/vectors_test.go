package wire

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"testing"
)

const vectors = "../../../../proto/vectors/"

func load(t *testing.T, name string, into any) {
	text, err := os.ReadFile(vectors + name)
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// split takes the one-buffer form apart.
func split(t *testing.T, text string) (frames [][]byte) {
	buffer, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	for len(buffer) > 0 {
		size := binary.BigEndian.Uint32(buffer)
		frames = append(frames, buffer[4:4+size])
		buffer = buffer[4+size:]
	}
	return frames
}

func TestMalformedVectorsAreRefusedWholeAndTheRecordNamed(t *testing.T) {
	var cases []struct {
		Name, Bytes, Error string
		Record             *int
	}
	load(t, "malformed/v1.json", &cases)
	if len(cases) == 0 {
		t.Fatal("no cases")
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			records, _, err := Decode(split(t, c.Bytes), nil)
			if c.Error != "malformed" {
				if err != nil {
					t.Fatal("well-formed, but refused:", err)
				}
				return
			}
			var malformed *Malformed
			if !errors.As(err, &malformed) || records != nil {
				t.Fatalf("taken: %v, error %v", records, err)
			}
			want := -1
			if c.Record != nil {
				want = *c.Record
			}
			if malformed.Record != want {
				t.Fatalf("blames record %d, want %d: %v", malformed.Record, want, err)
			}
		})
	}
}
