package mesh

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"
)

// cluster is what a file of envoy/kubernetes makes.
type cluster struct {
	namespaces []corev1.Namespace
	accounts   []corev1.ServiceAccount
	services   []corev1.Service
	jobs       []batchv1.Job
	cronJobs   []batchv1.CronJob
	claims     []corev1.PersistentVolumeClaim
	sets       []appsv1.StatefulSet
	budgets    []policyv1.PodDisruptionBudget
	scalers    []autoscalingv2.HorizontalPodAutoscaler
	policies   []networkingv1.NetworkPolicy
}

// Kubernetes has every kind and field of the manifests, and what they say of each other fits.
func TestKubernetes(t *testing.T) {
	files, err := filepath.Glob("../../envoy/kubernetes/*.yaml")
	if err != nil || len(files) != 3 {
		t.Fatalf("manifests %v: %v", files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			c := readCluster(t, file)
			if len(c.policies) != 1 || len(c.accounts) != 1 {
				t.Fatalf("it makes %+v", c)
			}
			c.checkPolicy(t)
			if filepath.Base(file) == "ledger.yaml" {
				c.checkJobs(t)
				return
			}
			if len(c.sets) != 1 || len(c.services) < 2 || len(c.budgets) != 1 || len(c.scalers) != 1 {
				t.Fatalf("it makes %+v", c)
			}
			c.checkSet(t, c.sets[0])
		})
	}
}

func readCluster(t *testing.T, file string) *cluster {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	c := new(cluster)
	for _, doc := range bytes.Split(text, []byte("\n---\n")) {
		var m metav1.TypeMeta
		if err := yaml.Unmarshal(doc, &m); err != nil {
			t.Fatal(err)
		}
		switch m.APIVersion + " " + m.Kind {
		case "v1 Namespace":
			c.namespaces = decode(t, doc, c.namespaces)
		case "v1 ServiceAccount":
			c.accounts = decode(t, doc, c.accounts)
		case "v1 Service":
			c.services = decode(t, doc, c.services)
		case "batch/v1 Job":
			c.jobs = decode(t, doc, c.jobs)
		case "batch/v1 CronJob":
			c.cronJobs = decode(t, doc, c.cronJobs)
		case "v1 PersistentVolumeClaim":
			c.claims = decode(t, doc, c.claims)
		case "apps/v1 StatefulSet":
			c.sets = decode(t, doc, c.sets)
		case "policy/v1 PodDisruptionBudget":
			c.budgets = decode(t, doc, c.budgets)
		case "autoscaling/v2 HorizontalPodAutoscaler":
			c.scalers = decode(t, doc, c.scalers)
		case "networking.k8s.io/v1 NetworkPolicy":
			c.policies = decode(t, doc, c.policies)
		default:
			t.Errorf("%s %s is not known here", m.APIVersion, m.Kind)
		}
	}
	return c
}

func decode[T any](t *testing.T, doc []byte, all []T) []T {
	t.Helper()
	var one T
	if err := yaml.UnmarshalStrict(doc, &one); err != nil {
		t.Errorf("%v\n%s", err, doc)
	}
	return append(all, one)
}

func (c *cluster) checkPolicy(t *testing.T) {
	if len(c.policies[0].Spec.PolicyTypes) != 2 {
		t.Error("NetworkPolicy: one direction is open")
	}
	for _, rule := range c.policies[0].Spec.Ingress {
		if len(rule.From) == 0 || len(rule.Ports) == 0 {
			t.Error("NetworkPolicy: it lets everybody in, or to every port")
		}
	}
	for _, rule := range c.policies[0].Spec.Egress {
		if len(rule.Ports) == 0 {
			t.Error("NetworkPolicy: it lets out to every port")
		}
	}
}

// checkJobs holds what runs to its end: the volumes that it names are there, and the network policy is of it.
func (c *cluster) checkJobs(t *testing.T) {
	if len(c.jobs) != 1 || len(c.cronJobs) != 2 || len(c.namespaces) != 1 {
		t.Fatalf("it makes %+v", c)
	}
	pods := map[string]corev1.PodTemplateSpec{c.jobs[0].Name: c.jobs[0].Spec.Template}
	for _, j := range c.cronJobs {
		pods[j.Name] = j.Spec.JobTemplate.Spec.Template
		if j.Spec.ConcurrencyPolicy != batchv1.ForbidConcurrent {
			t.Errorf("%s: two at once", j.Name)
		}
		if fields := strings.Fields(j.Spec.Schedule); len(fields) != 5 {
			t.Errorf("%s: schedule %q", j.Name, j.Spec.Schedule)
		}
	}
	for name, pod := range pods {
		selects(t, "NetworkPolicy", &c.policies[0].Spec.PodSelector, pod.Labels)
		c.checkPod(t, name, pod.Spec, nil)
		for _, v := range pod.Spec.Volumes {
			if claim := v.PersistentVolumeClaim; claim != nil && !slices.ContainsFunc(c.claims, func(p corev1.PersistentVolumeClaim) bool { return p.Name == claim.ClaimName }) {
				t.Errorf("%s: no claim %s", name, claim.ClaimName)
			}
		}
	}
}

// checkSet holds what refers to the pods of a StatefulSet to find them.
func (c *cluster) checkSet(t *testing.T, set appsv1.StatefulSet) {
	pod := labels.Set(set.Spec.Template.Labels)
	ports := map[string]int32{}
	for _, container := range append(set.Spec.Template.Spec.InitContainers, set.Spec.Template.Spec.Containers...) {
		for _, p := range container.Ports {
			ports[p.Name] = p.ContainerPort
		}
	}
	headless := false
	for _, s := range c.services {
		if !labels.SelectorFromSet(s.Spec.Selector).Matches(pod) {
			t.Errorf("Service %s selects no pod", s.Name)
		}
		for _, p := range s.Spec.Ports {
			if ports[p.TargetPort.StrVal] != p.Port {
				t.Errorf("Service %s: port %d is sent to %s of the pods", s.Name, p.Port, p.TargetPort.String())
			}
		}
		headless = headless || s.Name == set.Spec.ServiceName && s.Spec.ClusterIP == corev1.ClusterIPNone
	}
	if !headless {
		t.Errorf("no headless Service %s", set.Spec.ServiceName)
	}
	selects(t, "StatefulSet", set.Spec.Selector, pod)
	selects(t, "PodDisruptionBudget", c.budgets[0].Spec.Selector, pod)
	selects(t, "NetworkPolicy", &c.policies[0].Spec.PodSelector, pod)
	for _, rule := range c.policies[0].Spec.Ingress {
		for _, p := range rule.Ports {
			if _, ok := ports[p.Port.StrVal]; !ok {
				t.Errorf("NetworkPolicy: no port %s", p.Port)
			}
		}
	}
	scaler := c.scalers[0].Spec
	if ref := scaler.ScaleTargetRef; ref.APIVersion != "apps/v1" || ref.Kind != "StatefulSet" || ref.Name != set.Name || set.Spec.Replicas != nil {
		t.Errorf("HorizontalPodAutoscaler: it does not scale %s, or an apply would undo what it did", set.Name)
	}
	if *scaler.MinReplicas < 2 {
		t.Error("one replica is none while it is replaced")
	}
	for _, container := range append(set.Spec.Template.Spec.InitContainers, set.Spec.Template.Spec.Containers...) {
		if container.Resources.Requests.Cpu().IsZero() {
			t.Errorf("%s requests no cpu, of which the autoscaler counts its share", container.Name)
		}
	}
	c.checkPod(t, set.Name, set.Spec.Template.Spec, set.Spec.VolumeClaimTemplates)
}

func selects(t *testing.T, what string, s *metav1.LabelSelector, pod labels.Set) {
	t.Helper()
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil || selector.Empty() || !selector.Matches(pod) {
		t.Errorf("%s: it does not select %v: %v", what, pod, err)
	}
}

// checkPod holds a pod to what the profile "restricted" wants and more, and its names to be there.
func (c *cluster) checkPod(t *testing.T, name string, pod corev1.PodSpec, claims []corev1.PersistentVolumeClaim) {
	t.Helper()
	var volumes []string
	for _, v := range pod.Volumes {
		volumes = append(volumes, v.Name)
	}
	for _, v := range claims {
		volumes = append(volumes, v.Name)
	}
	if s := pod.SecurityContext; s == nil || s.RunAsNonRoot == nil || !*s.RunAsNonRoot || s.FSGroup == nil || s.SeccompProfile == nil || s.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Errorf("%s: want runAsNonRoot, an fsGroup and the seccomp profile of the runtime", name)
	}
	if pod.AutomountServiceAccountToken == nil || *pod.AutomountServiceAccountToken {
		t.Errorf("%s: it has a token for the Kubernetes API", name)
	}
	if pod.ServiceAccountName != c.accounts[0].Name {
		t.Errorf("%s: no ServiceAccount %s", name, pod.ServiceAccountName)
	}
	for _, container := range append(pod.InitContainers, pod.Containers...) {
		s := container.SecurityContext
		if s == nil || !*s.ReadOnlyRootFilesystem || *s.AllowPrivilegeEscalation || !slices.Contains(s.Capabilities.Drop, "ALL") || s.RunAsUser != nil && *s.RunAsUser == 0 {
			t.Errorf("%s %s: want a read-only root, no escalation, no capabilities and no root", name, container.Name)
		}
		if container.Resources.Limits.Memory().IsZero() {
			t.Errorf("%s %s: no memory limit", name, container.Name)
		}
		for _, v := range container.VolumeMounts {
			if !slices.Contains(volumes, v.Name) {
				t.Errorf("%s %s: no volume %s", name, container.Name, v.Name)
			}
		}
		for _, e := range container.Env {
			if e.Value != "" {
				t.Errorf("%s %s: %s is in the environment", name, container.Name, e.Name)
			}
		}
		named := map[intstr.IntOrString]bool{}
		for _, p := range container.Ports {
			named[intstr.FromString(p.Name)], named[intstr.FromInt32(p.ContainerPort)] = true, true
		}
		for what, probe := range map[string]*corev1.Probe{"startup": container.StartupProbe, "readiness": container.ReadinessProbe, "liveness": container.LivenessProbe} {
			var port intstr.IntOrString
			switch {
			case probe == nil:
				continue
			case probe.HTTPGet != nil:
				port = probe.HTTPGet.Port
			case probe.GRPC != nil:
				port = intstr.FromInt32(probe.GRPC.Port)
			case probe.TCPSocket != nil:
				port = probe.TCPSocket.Port
			}
			if !named[port] {
				t.Errorf("%s %s: %s probe: no port %s", name, container.Name, what, port.String())
			}
		}
	}
}
