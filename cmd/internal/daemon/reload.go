package daemon

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"time"

	"uclat/clat/config"
	"uclat/clat/policy"
	"uclat/cmd/internal/translation"
)

// reload puts the configuration in force that is written down now. Where that cannot be, everything stays as it is. It says whether there
// is another configuration to be applied, which the next look does: what fails then is tried again, as ever.
func (d *daemon) reload(ctx context.Context) bool {
	c, err := d.Reread()
	if err == nil {
		err = d.judge(ctx, c)
	}
	switch {
	case ctx.Err() != nil:
		return false
	case err != nil:
		d.Log.Error("configuration not reloaded, the old one stays: " + reasons(err))
		return false
	}
	keys := changes(d.Config, c)
	if len(keys) == 0 {
		d.Log.Info("configuration reloaded: nothing changed")
		return false
	}
	d.Log.Info("configuration reloaded: " + strings.Join(keys, ", "))
	learn := d.learnsAnew(c)
	d.Config, d.failure = c, ""
	if learn {
		d.learn(ctx)
	}
	return true
}

// judge says what keeps c from being put in force, here and now.
func (d *daemon) judge(ctx context.Context, c *config.Config) error {
	if err := Check(c); err != nil || c.Mode == config.ModeOff {
		return err
	}
	set := d.set
	if d.learnsAnew(c) {
		set = named(c)
	} else if _, err := translation.Table(c, d.plan.PREF64); err != nil {
		return err // policy would do without the PREF64s that are in use, and wait for others
	}
	known, _ := set.Valid(time.Now())
	in, err := d.see(ctx, c, known)
	if err != nil {
		return err
	}
	plan := policy.Decide(in)
	switch {
	case plan.Wrong:
		return wrong{plan.Why}
	case plan.On:
		_, err = translator(c, plan)
	}
	return err
}

// learnsAnew says whether what was learned of PREF64s does not hold under c, because others are asked.
func (d *daemon) learnsAnew(c *config.Config) bool {
	return !reflect.DeepEqual(c.PREF64, d.Config.PREF64) || c.Router() != d.Config.Router()
}

// mostReasons is how many errors of a configuration are told, so that a file that is none at all does not fill the log.
const mostReasons = 5

// reasons are the lines of err in one.
func reasons(err error) string {
	lines := strings.Split(err.Error(), "\n")
	if more := len(lines) - mostReasons; more > 0 {
		lines = append(lines[:mostReasons], fmt.Sprintf("and %d more, which `uclat check` tells", more))
	}
	return strings.Join(lines, "; ")
}

// changes are the keys whose values differ, in the order of the reference file.
func changes(was, is *config.Config) (names []string) {
	differs := map[string]bool{}
	compare(differs, "", reflect.ValueOf(*was), reflect.ValueOf(*is))
	for _, k := range config.Keys() {
		if differs[plain(k.Name)] {
			names = append(names, k.Name)
		}
	}
	return names
}

// compare notes the fields that differ. A struct in config.Config is a table, and the fields of a table are keys, whatever they hold.
func compare(differs map[string]bool, table string, was, is reflect.Value) {
	for i := range was.NumField() {
		name := plain(was.Type().Field(i).Name)
		switch {
		case table == "" && was.Field(i).Kind() == reflect.Struct:
			compare(differs, name, was.Field(i), is.Field(i))
		case !reflect.DeepEqual(was.Field(i).Interface(), is.Field(i).Interface()):
			differs[table+name] = true
		}
	}
}

// plain is what the name of a key and that of its field have in common.
func plain(name string) string {
	if name == "Maps" {
		return "map"
	}
	return strings.ToLower(strings.NewReplacer(".", "", "-", "").Replace(name))
}
