package tusk

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A project of its own takes this SDK by a replace directive, and its first program runs.
func TestAnEmptyProjectUsesTheSDKByReplace(t *testing.T) {
	here, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	worker, client := program(t, string(readme), "worker.go"), program(t, string(readme), "client.go")
	folder := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		name = filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("worker/worker.go", worker)
	write("client/client.go", client)
	run := func(arguments ...string) {
		t.Helper()
		command := exec.Command("go", arguments...)
		command.Dir = folder
		if out, err := command.CombinedOutput(); err != nil {
			t.Fatalf("go %v: %v\n%s", arguments, err, out)
		}
	}
	const path = "github.com/tuskd/tuskd/workers/go"
	run("mod", "init", "example.org/shop")
	run("mod", "edit", "-replace", path+"="+here)
	run("get", path+"@v0.0.0")
	run("build", "-o", "bin/", "./...")

	d := newDaemon(t)
	start := func(name string) *exec.Cmd {
		command := exec.Command(filepath.Join(folder, "bin", name))
		command.Env = append(os.Environ(), "TUSK_URL="+d.url)
		return command
	}
	w := start("worker")
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		w.Process.Kill()
		w.Wait()
	}()
	out, err := start("client").CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "3 <nil>" {
		t.Fatalf("%v\n%s", err, out)
	}
	w.Process.Signal(os.Interrupt)
	if err := w.Wait(); err != nil {
		t.Fatal("the worker:", err)
	}
}

// program returns the first Go program behind a line of the README that names its file.
func program(t *testing.T, readme, name string) string {
	t.Helper()
	_, rest, found := strings.Cut(readme, "`"+name+"`")
	_, rest, fenced := strings.Cut(rest, "```go\n")
	text, _, closed := strings.Cut(rest, "```")
	if !found || !fenced || !closed {
		t.Fatal("README.md has no", name)
	}
	return text
}
