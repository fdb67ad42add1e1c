// Renders templates with Go's own text/template: a JSON case per line in, a JSON outcome per line out.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"text/template"
)

type testCase struct {
	Template   string          `json:"template"`
	Data       json.RawMessage `json:"data"`
	MissingKey string          `json:"missingkey"`
	CSV        bool            `json:"csv"`
	Delims     []string        `json:"delims"`
}

type outcome struct {
	Output []byte `json:"output"`
	Stage  string `json:"stage,omitempty"`
	Error  string `json:"error,omitempty"`
}

// typed turns numbers without a point or exponent into int, all others into float64.
func typed(v any) any {
	switch v := v.(type) {
	case json.Number:
		if !strings.ContainsAny(string(v), ".eE") {
			if i, err := strconv.Atoi(string(v)); err == nil {
				return i
			}
		}
		f, _ := v.Float64()
		return f
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

// data is nil, too, when it is no JSON.
func (c *testCase) data() any {
	if c.CSV {
		var m map[string]string
		if json.Unmarshal(c.Data, &m) == nil {
			return m
		}
	}
	d := json.NewDecoder(bytes.NewReader(c.Data))
	d.UseNumber()
	var v any
	d.Decode(&v)
	return typed(v)
}

func (c *testCase) run() (o outcome) {
	t := template.New("t").Option("missingkey=" + c.MissingKey)
	if len(c.Delims) == 2 {
		t = t.Delims(c.Delims[0], c.Delims[1])
	}
	if _, err := t.Parse(c.Template); err != nil {
		return outcome{Stage: "parse", Error: err.Error()}
	}
	var b bytes.Buffer
	err := t.Execute(&b, c.data())
	o.Output = b.Bytes()
	if err != nil {
		o.Stage, o.Error = "exec", err.Error()
	}
	return o
}

func main() {
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<26)
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	enc := json.NewEncoder(out)
	for in.Scan() {
		var c testCase
		if err := json.Unmarshal(in.Bytes(), &c); err != nil {
			panic(err)
		}
		enc.Encode(c.run())
	}
}
