// Renders the rows of a JSON Lines file with Go's own text/template, on one thread.
//
//	bench ROWS ROUNDS TEMPLATE...
//
// prints one JSON line per template: the least CPU time per row of all rounds, and a SHA-256 of all output.
package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"text/template"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// cpu is the process's CPU time in ns: on a busy machine it is steadier than the clock.
func cpu() int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

// typed turns numbers without a point or exponent into int, all others into float64.
func typed(v any) any {
	switch v := v.(type) {
	case json.Number:
		if i, err := strconv.Atoi(string(v)); err == nil && !strings.ContainsAny(string(v), ".eE") {
			return i
		}
		return must(v.Float64())
	case []any:
		for i := range v {
			v[i] = typed(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = typed(v[k])
		}
	}
	return v
}

func main() {
	runtime.GOMAXPROCS(1)
	file := must(os.Open(os.Args[1]))
	rounds := must(strconv.Atoi(os.Args[2]))
	var rows []any
	for lines := bufio.NewScanner(file); lines.Scan(); {
		d := json.NewDecoder(bytes.NewReader(lines.Bytes()))
		d.UseNumber()
		var v any
		if err := d.Decode(&v); err != nil {
			panic(err)
		}
		rows = append(rows, typed(v))
	}
	enc := json.NewEncoder(os.Stdout)
	for _, path := range os.Args[3:] {
		t := template.Must(template.New("t").Parse(string(must(os.ReadFile(path)))))
		best, sum := int64(1<<62), ""
		for range rounds {
			out := make([]string, len(rows))
			runtime.GC()
			start := cpu()
			var b bytes.Buffer
			for i, row := range rows {
				b.Reset()
				if err := t.Execute(&b, row); err != nil {
					panic(err)
				}
				out[i] = b.String()
			}
			best = min(best, cpu()-start)
			hash := sha256.New()
			for _, text := range out {
				hash.Write([]byte(text))
			}
			sum = fmt.Sprintf("%x", hash.Sum(nil))
		}
		name := strings.TrimSuffix(filepath.Base(path), ".tmpl")
		enc.Encode(map[string]any{"name": name, "cpu_ns": float64(best) / float64(len(rows)), "sha256": sum, "version": runtime.Version()})
	}
}
