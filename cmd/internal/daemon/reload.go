package daemon

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"uclat/clat"
	"uclat/clat/config"
	"uclat/clat/policy"
	"uclat/cmd/internal/translation"
)

// reload puts the configuration in force that is written down now. Where that cannot be, everything stays as it is. It says whether there
// is another configuration to be applied, which the next look does: what fails then is tried again, as ever.
func (d *daemon) reload(ctx context.Context) bool {
	c, err := d.Reread()
	if err == nil {
		err = d.prepare(ctx, c)
	}
	switch {
	case ctx.Err() != nil:
		return false
	case err != nil:
		d.Asked.Error("configuration not reloaded, the old one stays: " + reasons(err))
		return false
	}
	keys := changes(d.Config, c)
	if len(keys) == 0 {
		d.Asked.Info("configuration reloaded: nothing changed")
		return false
	}
	d.Asked.Info("configuration reloaded: " + strings.Join(keys, ", "))
	if d.learnsAnew(c) {
		d.patient = time.Now().Add(firstAnswer)
	}
	d.Config, d.failure, d.asked = c, "", true
	d.set.Observe(d.Now(), configured(c))
	return true
}

// prepare says what keeps c from being put in force, here and now. Where nothing does, the device of c is ours already: the running one
// goes only when the next is there.
func (d *daemon) prepare(ctx context.Context, c *config.Config) error {
	if err := Check(c); err != nil || c.Mode == config.ModeOff {
		return err
	}
	if !d.learnsAnew(c) {
		if err := d.fits(c); err != nil {
			return err // policy would do without the PREF64s that are in use, and wait for others
		}
	}
	if d.has(c.Interface.Name) {
		return d.judge(ctx, c)
	}
	tun, err := d.openTUN(c.Interface.Name, clat.MinMTU6) // first: a taken name is the reason, not what it leads to
	if err != nil {
		return err
	}
	if err := d.judge(ctx, c); err != nil {
		return errors.Join(err, tun.Close())
	}
	err = d.closeSpare()
	d.spare = tun
	return err
}

// fits says whether c goes with the PREF64s that are in use.
func (d *daemon) fits(c *config.Config) error {
	p := sample(c)
	p.PREF64 = d.plan.PREF64
	_, err := translation.Table(c, p)
	return err
}

// judge refuses c where what it leads to is wrong, or would end a translation that goes on without it.
func (d *daemon) judge(ctx context.Context, c *config.Config) error {
	plan, err := d.decide(ctx, c)
	switch {
	case err != nil:
		return err
	case plan.On:
		_, err = translator(c, plan)
		return err
	case plan.Wrong:
		return wrong{plan.Why}
	case plan.Code == "native-ipv4": // mode auto asks for that
		return nil
	case plan.Tries() || plan.Code == policy.AskingRouters: // another address takes its time
		return nil
	case plan.Code == "no-pref64" && d.learnsAnew(c): // nobody was asked yet
		return nil
	}
	// What is missing may have gone a moment ago, and is no fault of c then.
	if now, err := d.decide(ctx, d.Config); err != nil || now.On {
		return errors.Join(err, errors.New(plan.Why))
	}
	return nil
}

// decide is the plan for c, here and now.
func (d *daemon) decide(ctx context.Context, c *config.Config) (policy.Plan, error) {
	host, err := d.snapshot(ctx, c)
	if err != nil {
		return policy.Plan{}, err
	}
	set := d.set
	set.Observe(d.Now(), configured(c))
	return policy.Decide(d.input(c, host, &set)), nil
}

// has says whether the device of that name need not be opened for a new configuration: it is ours, or that which the configuration in
// force waits to open.
func (d *daemon) has(name string) bool {
	switch {
	case d.spare != nil && d.spare.Name() == name, d.path != nil && d.path.tun != nil && d.path.tun.Name() == name:
		return true
	}
	return (d.path == nil || d.path.tun == nil) && d.Config.Interface.Name == name
}

// learnsAnew says whether others are asked for PREF64s under c.
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
