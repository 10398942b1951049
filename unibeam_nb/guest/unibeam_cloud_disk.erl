%% Files in the root directory of a small disk, ISO 9660 (ECMA-119, with Joliet or Rock Ridge names) or FAT (12, 16 or
%% 32, with long names), read from the device's bytes: kernels made for a BEAM know neither file system.
%% Whatever the disk says is checked: sizes are bounded, chains end.
-module(unibeam_cloud_disk).

-export([read/3]).

-define(SECTOR, 2048).
-define(MOST_DIRECTORY, 65536).

%% The files of these names that are there: {ok, [{Name, Bytes | too_large}]}, or {error, Why}.
read(Device, Names, Limit) ->
    case prim_file:open(Device, [read, binary, raw]) of
        {error, Why} -> {error, ["it cannot be read (", atom_to_list(Why), ")"]};
        {ok, Disk} ->
            try
                case bytes(Disk, 16 * ?SECTOR, 6) of
                    <<1, "CD001">> -> {ok, iso(Disk, Names, Limit)};
                    _ -> {ok, fat(Disk, Names, Limit)}
                end
            catch
                throw:damaged -> {error, "it is damaged"};
                error:_ -> {error, "it is damaged"}
            after
                prim_file:close(Disk)
            end
    end.

bytes(Disk, At, Count) ->
    case prim_file:pread(Disk, At, Count) of
        {ok, Bytes} when byte_size(Bytes) =:= Count -> Bytes;
        _ -> throw(damaged)
    end.

limited(_, Size, Limit) when Size > Limit -> too_large;
limited(Read, _, _) -> Read().

%% ---- ISO 9660 -----------------------------------------------------------------------------------------------

iso(Disk, Names, Limit) ->
    {Kind, Root} = descriptor(Disk, 16, none),
    <<_:2/binary, Extent:32/little, _:32, Size:32/little, _/binary>> = Root,
    Size =< ?MOST_DIRECTORY orelse throw(damaged),
    Records = records(bytes(Disk, Extent * ?SECTOR, Size), Kind, 0),
    [{Name, limited(fun() -> bytes(Disk, At * ?SECTOR, Length) end, Length, Limit)}
     || {Name, At, Length} <- Records, lists:member(Name, Names)].

%% The root's record, of Joliet's descriptor (one with UCS-2 names) where there is one.
descriptor(Disk, Sector, Found) when Sector < 32 ->
    case bytes(Disk, Sector * ?SECTOR, ?SECTOR) of
        <<1, "CD001", _:150/binary, Root:34/binary, _/binary>> when Found =:= none ->
            descriptor(Disk, Sector + 1, {plain, Root});
        <<2, "CD001", _:82/binary, "%/", Level, _:65/binary, Root:34/binary, _/binary>>
                when Level =:= $@; Level =:= $C; Level =:= $E ->
            {joliet, Root};
        <<255, "CD001", _/binary>> when Found =/= none -> Found;
        <<_, "CD001", _/binary>> -> descriptor(Disk, Sector + 1, Found);
        _ when Found =/= none -> Found
    end.

%% A record never crosses a sector; zeros fill the rest of one.
records(Directory, Kind, At) ->
    case Directory of
        <<_:At/binary, 0, _/binary>> ->
            Next = (At div ?SECTOR + 1) * ?SECTOR,
            case Next < byte_size(Directory) of true -> records(Directory, Kind, Next); false -> [] end;
        <<_:At/binary, Length, _, Extent:32/little, _:32, Size:32/little, _:88, Flags, _:48, Named, Rest/binary>>
                when Length > 33 ->
            <<Name:Named/binary, More/binary>> = Rest,
            Padded = 1 - Named band 1,
            Left = max(0, Length - 33 - Named - Padded),
            <<_:Padded/binary, Use:Left/binary, _/binary>> = More,
            Others = records(Directory, Kind, At + Length),
            case Flags band 2 of
                0 -> [{iso_name(Kind, Name, Use), Extent, Size} | Others];
                _ -> Others
            end;
        _ -> []
    end.

iso_name(joliet, Name, _) -> unversioned(<< <<Code>> || <<Code:16>> <= Name, Code < 256 >>);
iso_name(plain, Name, Use) ->
    case rock_ridge(Use) of
        <<>> -> << <<(lower(Byte))>> || <<Byte>> <= unversioned(Name) >>;
        Long -> Long
    end.

unversioned(Name) -> hd(binary:split(Name, <<";">>)).

%% The NM entries of a record's system use area (IEEE P1282).
rock_ridge(<<"NM", Length, _, _, Rest/binary>>) when Length >= 5, byte_size(Rest) >= Length - 5 ->
    Count = Length - 5,
    <<Part:Count/binary, More/binary>> = Rest,
    <<Part/binary, (rock_ridge(More))/binary>>;
rock_ridge(<<_:16, Length, _/binary>> = Use) when Length >= 4, byte_size(Use) >= Length ->
    <<_:Length/binary, More/binary>> = Use,
    rock_ridge(More);
rock_ridge(_) -> <<>>.

%% ---- FAT ----------------------------------------------------------------------------------------------------

%% Microsoft's "FAT: General Overview of On-Disk Format" (1.03).
fat(Disk, Names, Limit) ->
    <<_:11/binary, Sector:16/little, PerCluster, Reserved:16/little, Tables, RootEntries:16/little, Small:16/little,
      _, SmallTable:16/little, _:8/binary, Large:32/little, LargeTable:32/little, _:4/binary, RootCluster:32/little,
      _:462/binary, 16#55, 16#aa>> = bytes(Disk, 0, 512),
    true = lists:member(Sector, [512, 1024, 2048, 4096]) andalso PerCluster > 0 andalso Tables > 0,
    Table = case SmallTable of 0 -> LargeTable; _ -> SmallTable end,
    Sectors = case Small of 0 -> Large; _ -> Small end,
    RootSectors = (RootEntries * 32 + Sector - 1) div Sector,
    First = Reserved + Tables * Table + RootSectors,
    Clusters = (Sectors - First) div PerCluster,
    Width = if Clusters < 4085 -> 12; Clusters < 65525 -> 16; true -> 32 end,
    Volume = #{disk => Disk, table => Reserved * Sector, width => Width, first => First * Sector,
               cluster => PerCluster * Sector, last => Clusters + 1},
    Root = case Width of
        32 -> chain(Volume, RootCluster, ?MOST_DIRECTORY);
        _ -> bytes(Disk, (First - RootSectors) * Sector, min(RootEntries * 32, ?MOST_DIRECTORY))
    end,
    [{Name, limited(fun() -> file(Volume, Cluster, Size) end, Size, Limit)}
     || {Name, Cluster, Size} <- entries(Root, []), lists:member(Name, Names)].

file(_, _, 0) -> <<>>;
file(Volume, Cluster, Size) ->
    binary:part(chain(Volume, Cluster, Size), 0, Size).

%% The clusters from this one on, until so many bytes are there.
chain(_, _, Wanted) when Wanted =< 0 -> <<>>;
chain(#{disk := Disk, first := First, cluster := Bytes, last := Last} = Volume, Cluster, Wanted)
        when Cluster >= 2, Cluster =< Last ->
    Here = bytes(Disk, First + (Cluster - 2) * Bytes, Bytes),
    <<Here/binary, (chain(Volume, next(Volume, Cluster), Wanted - Bytes))/binary>>;
chain(_, _, _) -> <<>>.

next(#{disk := Disk, table := Table, width := 32}, Cluster) ->
    <<Next:32/little>> = bytes(Disk, Table + Cluster * 4, 4),
    Next band 16#0fffffff;
next(#{disk := Disk, table := Table, width := 16}, Cluster) ->
    <<Next:16/little>> = bytes(Disk, Table + Cluster * 2, 2),
    Next;
next(#{disk := Disk, table := Table, width := 12}, Cluster) ->
    <<Pair:16/little>> = bytes(Disk, Table + Cluster + Cluster div 2, 2),
    case Cluster band 1 of 0 -> Pair band 16#fff; 1 -> Pair bsr 4 end.

%% Parts of a long name come last part first, before the entry that they name.
entries(<<0, _/binary>>, _) -> [];
entries(<<16#e5, _:31/binary, Rest/binary>>, _) -> entries(Rest, []);
entries(<<_, One:10/binary, 16#0f, _:2/binary, Two:12/binary, _:16, Three:4/binary, Rest/binary>>, Long) ->
    entries(Rest, [<<One/binary, Two/binary, Three/binary>> | Long]);
entries(<<Short:8/binary, Suffix:3/binary, Attributes, _:8/binary, High:16/little, _:4/binary, Low:16/little,
          Size:32/little, Rest/binary>>, Long) ->
    case Attributes band 16#18 of
        0 -> [{fat_name(Short, Suffix, Long), High bsl 16 bor Low, Size} | entries(Rest, [])];
        _ -> entries(Rest, [])
    end;
entries(_, _) -> [].

fat_name(Short, Suffix, []) ->
    Dot = case unpadded(Suffix) of <<>> -> <<>>; Text -> <<".", Text/binary>> end,
    << <<(lower(Byte))>> || <<Byte>> <= <<(unpadded(Short))/binary, Dot/binary>> >>;
fat_name(_, _, Long) ->
    << <<Code>> || <<Code:16/little>> <= iolist_to_binary(Long), Code > 0, Code < 256 >>.

unpadded(Name) -> hd(binary:split(Name, <<" ">>)).

lower(Byte) when Byte >= $A, Byte =< $Z -> Byte + 32;
lower(Byte) -> Byte.
