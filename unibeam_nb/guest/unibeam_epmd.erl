%% A port mapper for a node that is alone: `-epmd_module unibeam_epmd -start_epmd false`.
%%
%% A release may ask for a node name (-name, -sname), and RabbitMQ insists on one. The usual port mapper is
%% a daemon that outlives the node; in a machine with one program nobody asks it anything. The node gets
%% its name and listens; other nodes are not found by name.
-module(unibeam_epmd).

-export([start_link/0, register_node/2, register_node/3, listen_port_please/2, address_please/3,
         port_please/2, port_please/3, names/0, names/1]).

start_link() ->
    ignore.

register_node(Name, Port) ->
    register_node(Name, Port, inet).

%% The number tells two lives of a node apart; it is any of 4..2^32-1 since OTP 23.
register_node(_Name, _Port, _Family) ->
    {ok, 4 + erlang:phash2({erlang:system_time(), os:getpid()}, 16#fffffff0)}.

listen_port_please(_Name, _Host) ->
    {ok, 0}.

address_please(_Name, Host, Family) ->
    inet:getaddr(Host, Family).

port_please(_Name, _Host) ->
    noport.

port_please(_Name, _Host, _Timeout) ->
    noport.

names() ->
    {ok, []}.

names(_Host) ->
    {ok, []}.
