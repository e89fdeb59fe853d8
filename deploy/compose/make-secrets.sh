#!/bin/sh
# Makes what the services of compose.yaml are given as files: certificates, passwords and tokens, each readable by the
# one user that it is for. Run as root: make-secrets.sh FOLDER NAME. Nothing that is there is replaced.
set -eu
folder=$1 name=$2
umask 077
cd "$folder"
if [ -e ca.pem ]; then
    echo "$folder has its secrets already" >&2
    exit 0
fi

secret() {
    od -An -N32 -tx1 /dev/urandom | tr -d ' \n'
}

# give FILE OWNER[:GROUP] MODE
give() {
    chmod "$3" "$1"
    chown "$2" "$1"
}

fleet pki init authority
fleet pki issue authority fleet-coordinator --name "$name" --name fleet-coordinator --name localhost
fleet pki issue authority grafana --name "$name" --name localhost
# Of an authority that nodes and operators do not trust: what runs in a SuperLink must not pass for the coordinator.
# What it starts calls it at 127.0.0.1.
fleet pki init superlink-authority
fleet pki issue superlink-authority fleet-superlink --name fleet-superlink --name localhost --name 127.0.0.1

# take AUTHORITY SERVER OWNER
take() {
    for end in pem key; do
        cp "$1/$2.$end" .
        give "$2.$end" "$3" 0400
    done
}
take authority fleet-coordinator 10001
take authority grafana 472
take superlink-authority fleet-superlink 10002

mkdir learning
secret > learning/learning.token
cp authority/ca.pem learning/ca.pem
cp superlink-authority/ca.pem learning/superlink-ca.pem
for file in learning.token ca.pem superlink-ca.pem; do
    give "learning/$file" 0:10010 0440
done
give learning 0:10010 0750

secret > postgres.password
printf '*:*:fleet:fleet:%s\n' "$(cat postgres.password)" > pgpass
give postgres.password 999 0400
give pgpass 10001 0400
secret > grafana.password
give grafana.password 472 0400
secret > webhook.token
give webhook.token 65534 0400

# Last: from now on all is there.
cp authority/ca.pem ca.pem
give ca.pem 0:0 0444
chmod 0711 .
