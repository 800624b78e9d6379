"""The texts of a deployment that are no protocol buffers."""

MONITORING = """\
prometheus_config {
  enable: true
  path: "/monitoring/prometheus/metrics"
}
"""

PROMETHEUS = """\
scrape_configs:
  - job_name: tensorflow-serving
    scrape_interval: 15s
    metrics_path: /monitoring/prometheus/metrics
    static_configs:
      - targets: ["serving:8501"]
"""

DOCKERFILE = """\
# The models baked in: an image is then one release, models and server together.
# Build with the models as a named context:
#   docker build --build-context models=MODELS_DIR -t gan-serving .
FROM {image}
# The server runs as nobody, who must be able to read whatever modes the files have.
COPY --from=models --chown=65534:65534 . /models
COPY --chown=65534:65534 models.config batching.config monitoring.config /config/
EXPOSE 8500 8501
USER 65534:65534
ENTRYPOINT {flags_json}
"""

COMPOSE = """\
services:
  serving:
    image: "{image}"
    entrypoint: {flags_json}
    user: "65534:65534"
    volumes:
      - type: bind
        source: {models}
        target: /models
        read_only: true
      # The folder, and not its files: a file that is replaced would not be seen.
      - type: bind
        source: .
        target: /config
        read_only: true
    tmpfs:
      - /tmp
    ports:
      - "127.0.0.1:8500:8500"
      - "127.0.0.1:8501:8501"
    # TensorFlow Serving does not handle SIGTERM, and the first process of a container
    # that does not is killed only after the grace period.
    init: true
    read_only: true
    restart: unless-stopped
    stop_grace_period: 30s
    deploy:
      resources:
        limits:
          cpus: "{cpus}"
          memory: {memory}G
  prometheus:
    image: prom/prometheus:v3.5.0
    volumes:
      - ./prometheus.yml:/etc/prometheus/prometheus.yml:ro
    ports:
      - "127.0.0.1:9090:9090"
    depends_on:
      - serving
"""

#: Where pods have the models from, unless their image holds them.
MODELS_MOUNT = """\
            - name: models
              mountPath: /models
              readOnly: true
"""
MODELS_VOLUME = """\
        - name: models
          # Replicas on several nodes need a claim with the access mode ReadOnlyMany or
          # ReadWriteMany.
          persistentVolumeClaim:
            claimName: gan-models
            readOnly: true
"""

KUBERNETES = """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: gan-serving
data:
  models.config: |
{models_config_yaml}
  batching.config: |
{batching_config_yaml}
  monitoring.config: |
{monitoring_config_yaml}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: gan-serving
  labels:
    app: gan-serving
spec:
  # How many replicas there are is for the autoscaler below: a number here would undo
  # its work whenever this file is applied.
  selector:
    matchLabels:
      app: gan-serving
  strategy:
    type: RollingUpdate
    rollingUpdate:
      maxUnavailable: 0
      maxSurge: 1
  template:
    metadata:
      labels:
        app: gan-serving
      annotations:
        prometheus.io/scrape: "true"
        prometheus.io/port: "8501"
        prometheus.io/path: /monitoring/prometheus/metrics
        # Of batching.config and monitoring.config, which are read at the start alone:
        # when they change, so does this, and new pods replace those that run.
        checksum/config: "{checksum}"
    spec:
      automountServiceAccountToken: false
      # The sleep below, and time for the calls that are still running then. TensorFlow
      # Serving does not handle SIGTERM, so that stopping always takes this long.
      terminationGracePeriodSeconds: 105
      topologySpreadConstraints:
        # One node that fails should not take every replica with it.
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels:
              app: gan-serving
      securityContext:
        runAsNonRoot: true
        runAsUser: 65534
        runAsGroup: 65534
        seccompProfile:
          type: RuntimeDefault
      containers:
        - name: serving
          image: "{pod_image}"
          command: ["tensorflow_model_server"]
          args:
{flags_yaml}
          ports:
            - name: grpc
              containerPort: 8500
            - name: rest
              containerPort: 8501
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities:
              drop: ["ALL"]
          resources:
            requests:
              cpu: "{cpus}"
              memory: {memory_requested}Mi
            limits:
              cpu: "{cpus}"
              memory: {memory}Gi
          # Loading and warming up may take minutes; the other probes wait for this one.
          # It and the readiness probe ask for the first model alone: TensorFlow Serving
          # opens its ports when every model has a version. What befalls another model
          # later, they do not see.
          startupProbe:
            httpGet:
              path: {probe_path}
              port: rest
            periodSeconds: 2
            timeoutSeconds: 5
            failureThreshold: 150
          # A busy server answers late. It stays, since without it the others would have
          # even more to do.
          readinessProbe:
            httpGet:
              path: {probe_path}
              port: rest
            periodSeconds: 5
            timeoutSeconds: 5
            failureThreshold: 6
          livenessProbe:
            grpc:
              port: 8500
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 6
          lifecycle:
            preStop:
              # The server still answers while the clients forget it: up to 30 seconds
              # in the name server, then up to 33 until each connection has ended, at
              # the age in the flags, and the addresses are looked up anew. Clusters
              # older than Kubernetes 1.30 do not know this action.
              sleep:
                seconds: 75
          volumeMounts:
{models_mount}            - name: config
              mountPath: /config
              readOnly: true
            - name: tmp
              mountPath: /tmp
      volumes:
{models_volume}        - name: config
          configMap:
            name: gan-serving
        - name: tmp
          emptyDir:
            sizeLimit: 64Mi
---
apiVersion: v1
kind: Service
metadata:
  name: gan-serving
  labels:
    app: gan-serving
spec:
  # Without an address of its own: a gRPC client then sees every replica and can
  # spread its calls, where one connection through a single address would stay on one.
  clusterIP: None
  selector:
    app: gan-serving
  ports:
    - name: grpc
      port: 8500
      targetPort: grpc
      appProtocol: kubernetes.io/h2c
    - name: rest
      port: 8501
      targetPort: rest
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: gan-serving
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: gan-serving
  minReplicas: {replicas}
  maxReplicas: {max_replicas}
  metrics:
    - type: Resource
      resource:
        name: cpu
        target:
          type: Utilization
          averageUtilization: 70
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: gan-serving
spec:
  maxUnavailable: 1
  selector:
    matchLabels:
      app: gan-serving
"""
