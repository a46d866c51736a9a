package cli

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"uclat/cmd/internal/daemon"
	"uclat/cmd/internal/explain"

	"github.com/spf13/cobra"
)

func newExplain() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain ADDRESS",
		Short: "Say what happens to packets to an address",
		Long: "explain says how an IPv4 address is mapped, what would be sent where, or why it\nwould be dropped; of an IPv6 address, what its " +
			"packets become. Of a plain\ntranslator it says what an address becomes at either end of a packet, and by which\nmap or prefix. It ends with 1 " +
			"where the CLAT would not be on.",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return fmt.Errorf("explain: give one address, such as 198.51.100.10, not %d", len(args))
			}
			return nil
		},
	}
	var asJSON bool
	jsonFlag(cmd, &asJSON)
	readConfig, stateDir := configFlags(cmd), stateDirFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		address, err := netip.ParseAddr(args[0])
		if err != nil || address.Zone() != "" {
			return fmt.Errorf("explain: %q is no IP address such as 198.51.100.10", args[0])
		}
		address = address.Unmap()
		c, err := readConfig()
		if err != nil {
			return err
		}
		if err := daemon.Check(c); err != nil {
			return err
		}
		v, err := look(cmd.Context(), c, *stateDir, netip.PrefixFrom(address, address.BitLen()))
		if err != nil {
			return err
		}
		plan := v.Plan
		switch {
		case plan.Wrong:
			return errors.New(plan.Why)
		case !plan.On:
			return fault{errors.New(strings.Join(append([]string{plan.Why}, unheard(v)...), "\n"))}
		}
		x, err := explain.Explain(c, plan, v.Input.Host, address)
		if err != nil {
			return fault{err}
		}
		if asJSON {
			return printJSON(cmd.OutOrStdout(), x)
		}
		fmt.Fprintln(cmd.OutOrStdout(), address)
		rows := explanation(x)
		for _, note := range append(notes(v), unheard(v)...) {
			rows = append(rows, [2]string{"note", note})
		}
		return printTable(cmd.OutOrStdout(), rows)
	}
	return cmd
}

func explanation(x explain.Explanation) [][2]string {
	switch {
	case x.AsSource != nil:
		return [][2]string{{"as source", mappedText(x.AsSource)}, {"as destination", mappedText(x.AsDestination)}, {"route", x.Route}}
	case x.Native != "" && x.Route != "":
		return [][2]string{{"not translated", x.Native}, {"route", x.Route}}
	case x.Native != "":
		return [][2]string{{"not translated", x.Native}}
	case x.Drop != "":
		return [][2]string{{"dropped", x.Why + " (" + x.Drop + ")"}, {"PREF64", pref64Text(x)}}
	}
	from, to := x.Translated.From, x.Translated.To
	rows := [][2]string{
		{family(from[0]), fmt.Sprintf("%v -> %v", from[0], from[1])},
		{family(to[0]), fmt.Sprintf("%v -> %v", to[0], to[1])},
		{"PREF64", pref64Text(x)},
	}
	if from[0].Is4() {
		rows = append(rows, [2]string{"uplink", fmt.Sprintf("%s, %d octets of IPv6, so %d of IPv4", x.Uplink, x.MTU6, x.MTU4)})
	}
	rows = append(rows, [2]string{"path", fmt.Sprintf("%s: %s", x.Path, x.PathWhy)})
	return rows
}

func mappedText(m *explain.Mapped) string {
	if m.Drop != "" {
		return "dropped: " + m.Why + " (" + m.Drop + ")"
	}
	return fmt.Sprintf("%v by %s", m.To, m.By)
}

func pref64Text(x explain.Explanation) string { return x.PREF64 + ", " + x.Origin }

func family(a netip.Addr) string {
	if a.Is4() {
		return "IPv4"
	}
	return "IPv6"
}
