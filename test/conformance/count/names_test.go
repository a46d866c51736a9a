package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"uclat/test/conformance/requirements"
)

// One requirement has one test: no test outside of test/conformance has the name of a requirement, so that nobody has to look in two
// places for what a requirement means. A comment may name it.
func TestNoOtherTestIsNamedLikeARequirement(t *testing.T) {
	top := filepath.Join("..", "..", "..")
	here := filepath.Join(top, "test", "conformance")
	err := filepath.WalkDir(top, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && (path == here || path == filepath.Join(top, "build") || strings.HasPrefix(e.Name(), ".") && path != top):
			return fs.SkipDir
		case e.IsDir() || !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		found, err := named(path, nil)
		for _, f := range found {
			t.Error(f)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// named are the strings of a Go file that begin like an ID, each with its place. source replaces the file's text unless it is nil.
func named(path string, source any) (found []string, err error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, path, source, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	ast.Inspect(file, func(n ast.Node) bool {
		lit, ok := n.(*ast.BasicLit)
		if !ok || lit.Kind != token.STRING {
			return true
		}
		if text, err := strconv.Unquote(lit.Value); err == nil && requirements.Looks(text) {
			found = append(found, fmt.Sprintf("%v: %q", fset.Position(lit.Pos()), text))
		}
		return true
	})
	return found, nil
}

func TestNamed(t *testing.T) {
	const source = "package p\n\n// XLAT-CK-1 in a comment.\nfunc f() {\n\tt.Run(\"XLAT-CK-1/case\", nil)\n\tg(`PMTU-CLAT-3`, \"see XLAT-CK-2\", 'X')\n}\n"
	got, err := named("p_test.go", source)
	if want := []string{`p_test.go:5:8: "XLAT-CK-1/case"`, `p_test.go:6:4: "PMTU-CLAT-3"`}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}
